-- For each queue, in how many seconds its next pending job is due: zero or less means now; no row
-- comes back for a queue without pending jobs. Reads only, one index probe for each priority in use.
with recursive queue (name) as (
    select unnest(%(queue_name)s::text[])
),
level (queue_name, priority) as (
    select name, (
        select priority from {schema}.job
        where queue_name = name and status = 'pending'
        order by priority limit 1
    )
    from queue
    union all
    select queue_name, (
        select job.priority from {schema}.job
        where job.queue_name = level.queue_name
            and status = 'pending'
            and job.priority > level.priority
        order by job.priority limit 1
    )
    from level
    where level.priority is not null
)
select
    level.queue_name,
    least(
        greatest(extract(epoch from min(first.run_at)) - extract(epoch from now()), 0), 86400
    )::float8 as due_in
from level
cross join lateral (
    select run_at from {schema}.job
    where job.queue_name = level.queue_name
        and status = 'pending'
        and job.priority = level.priority
    order by run_at
    limit 1
) as first
where level.priority is not null
group by level.queue_name
