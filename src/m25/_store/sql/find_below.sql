-- Find what a job has started, and what that has, down to the last, as far as `most` goes. Each job comes
-- as its latest attempt. Reads only; every floor is found by an index.
with recursive tree (job_id) as (
    select coalesce(original_attempt_id, id) from {schema}.job where id = %(id)s::uuid
    union
    select child.job_id
    from tree
    cross join lateral (
        select coalesce(original_attempt_id, id) as job_id
        from {schema}.job
        where parent_id = tree.job_id
        offset 0
    ) as child
),
below as materialized (
    -- The first is the job itself.
    select job_id from tree offset 1 limit %(most)s::bigint
),
latest as materialized (
    select (
        select attempt.id
        from (
            select first.id, first.attempt
            from {schema}.job as first
            where first.id = below.job_id
            union all
            select next.id, next.attempt
            from {schema}.job as next
            where next.original_attempt_id = below.job_id
        ) as attempt
        order by attempt.attempt desc
        limit 1
    ) as id
    from below
)
select
    {found_job}
from {schema}.job
where id = any(array(select id from latest))
