-- Read all attempts of a chain, in order, by the id of any of them. Reads only.
with named as materialized (
    select coalesce(original_attempt_id, id) as first
    from {schema}.job
    where id = %(id)s::uuid
),
chain as materialized (
    select first as id
    from named
    union all
    select id
    from {schema}.job
    where original_attempt_id = (select first from named)
)
select
    {job_row}
from {schema}.job
where id = any(array(select id from chain))
order by attempt
