-- Queues that somebody has paused, and that have jobs which are due, with when the oldest was. Reads
-- only, by a few index probes for each paused queue.
with recursive paused as materialized (
    select name, paused_at, pause_reason from {schema}.queue where paused_at is not null
),
level (queue_name, priority) as (
    select name, (
        select priority from {schema}.job
        where queue_name = name and status = 'pending'
        order by priority limit 1
    )
    from paused
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
    paused.name as queue,
    extract(epoch from now() - paused.paused_at)::float8 as age,
    coalesce(paused.pause_reason, 'nobody said why') as reason,
    extract(epoch from now() - min(first.run_at))::float8 as due
from paused
join level on level.queue_name = paused.name and level.priority is not null
cross join lateral (
    select run_at from {schema}.job
    where job.queue_name = level.queue_name
        and status = 'pending'
        and job.priority = level.priority
    order by run_at
    limit 1
) as first
where first.run_at <= now()
group by paused.name, paused.paused_at, paused.pause_reason
order by paused.name
