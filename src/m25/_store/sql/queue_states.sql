-- All queues that have jobs which have not ended, or have failed, or of which anybody has heard; with what
-- is on them. Jobs are counted up to `most`: of a queue's pending ones, of a queue's live ones, and of
-- all that have failed.
-- Reads only. Names are found by a probe for each queue, and jobs counted by partial indexes, which know
-- nothing of what has succeeded.
with recursive pending (name) as (
    (
        select queue_name from {schema}.job
        where status = 'pending' and queue_name >= ''
        order by queue_name limit 1
    )
    union all
    select (
        select queue_name from {schema}.job
        where status = 'pending' and queue_name > pending.name
        order by queue_name limit 1
    )
    from pending
    where name is not null
),
live (name) as (
    (
        select queue_name from {schema}.job
        where reserved_at is not null
            and finished_at is null
            and cancelled_at is null
            and queue_name >= ''
        order by queue_name limit 1
    )
    union all
    select (
        select queue_name from {schema}.job
        where reserved_at is not null
            and finished_at is null
            and cancelled_at is null
            and queue_name > live.name
        order by queue_name limit 1
    )
    from live
    where name is not null
),
failed as materialized (
    select queue_name as name, count(*) as number
    from (
        select queue_name
        from {schema}.job
        where status = 'failed'
            and id > '00000000-0000-0000-0000-000000000000'
            and {is_latest}
        order by id desc
        limit %(most)s::bigint
    ) as each
    group by queue_name
),
served as materialized (
    select name, count(*) as number
    from (
        select unnest(queues) as name
        from {schema}.worker
        where ended_at is null and latest_heartbeat_at > now() - %(silence)s::interval
    ) as each
    group by name
),
known as materialized (
    select name from pending where name is not null
    union
    select name from live where name is not null
    union
    select name from failed
    union
    select name from {schema}.queue
)
select
    known.name,
    extract(epoch from queue.default_job_timeout)::text as default_job_timeout,
    queue.default_max_attempts,
    queue.on_failure,
    extract(epoch from queue.paused_at)::text as paused_at,
    queue.pause_reason,
    queue.limiter,
    coalesce(limiter.set_to, limiter.declared) as "limit",
    waits.due,
    waits.scheduled,
    waits.waiting,
    runs.number as running,
    coalesce(failed.number, 0) as failed,
    extract(epoch from case when oldest.run_at <= now() then oldest.run_at end)::text as due_since,
    coalesce(served.number, 0) as workers
from known
left join {schema}.queue on queue.name = known.name
left join {schema}.limiter on limiter.name = queue.limiter
left join failed on failed.name = known.name
left join served on served.name = known.name
cross join lateral (
    select
        count(*) filter (where run_at <= now()) as due,
        count(*) filter (where run_at > now() and run_at < '8000-01-01Z') as scheduled,
        -- That is when a job is due that waits for a message, or for others of its key.
        count(*) filter (where run_at >= '8000-01-01Z') as waiting
    from (
        select run_at
        from {schema}.job
        where queue_name = known.name and status = 'pending'
        limit %(most)s::bigint
    ) as each
) as waits
cross join lateral (
    select count(*) as number
    from (
        select
        from {schema}.job
        where queue_name = known.name
            and reserved_at is not null
            and finished_at is null
            and cancelled_at is null
        limit %(most)s::bigint
    ) as each
) as runs
cross join lateral (
    {oldest_due}
) as oldest
order by known.name
