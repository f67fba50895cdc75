-- Queues that live workers serve, which are not paused, of which no job runs, and whose oldest has been due
-- for long; up to `most` of them, each with that job. Reads only, by a few index probes for each queue.
with recursive served as materialized (
    select name, count(*) as workers
    from (
        select unnest(queues) as name
        from {schema}.worker
        where ended_at is null and latest_heartbeat_at > now() - %(silence)s::interval
    ) as each
    group by name
)
select
    known.name as queue,
    known.workers,
    oldest.id::text as job,
    least(extract(epoch from now()) - extract(epoch from oldest.run_at), 1e9)::float8 as age
from served as known
join {schema}.queue on queue.name = known.name and queue.paused_at is null
cross join lateral (
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
    select first.id, first.run_at
    from level
    cross join lateral (
        select id, run_at from {schema}.job
        where queue_name = known.name and status = 'pending' and job.priority = level.priority
        order by run_at, id
        limit 1
    ) as first
    order by first.run_at, first.id
    limit 1
) as oldest
where oldest.run_at < now() - interval '5 minutes' * %(tolerance)s::float8
    and (
        select true from {schema}.job
        where queue_name = known.name
            and reserved_at is not null
            and finished_at is null
            and cancelled_at is null
        limit 1
    ) is null
order by oldest.run_at
limit %(most)s::bigint
