-- When the oldest pending job of the queue `known.name` is due, or was, by two index probes for each
-- priority in use; null where it has none.
with recursive level (priority) as (
    (
        select priority from {schema}.job
        where queue_name = known.name and status = 'pending'
        order by priority limit 1
    )
    union all
    select (
        select job.priority from {schema}.job
        where queue_name = known.name and status = 'pending' and job.priority > level.priority
        order by job.priority limit 1
    )
    from level
    where level.priority is not null
)
select min(first.run_at) as run_at
from level
cross join lateral (
    select run_at from {schema}.job
    where queue_name = known.name and status = 'pending' and job.priority = level.priority
    order by run_at
    limit 1
) as first
