-- Count jobs by what they are, in a part of a walk over the table, as find_jobs.sql finds them. There
-- always is one row. Reads only.
with {looked_at},
counted as materialized (
    select status, count(*) as number from found group by status
)
select
    bound.id::text as bound_id,
    (
        select extract(epoch from created_at)::text from {schema}.job where job.id = bound.id
    ) as bound_created_at,
    counted.status,
    counted.number
from (values (true)) as always (is_there)
left join bound on true
left join counted on true
