-- What was counted in a part of a walk over jobs, and where the part has ended. There always is one row.
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
