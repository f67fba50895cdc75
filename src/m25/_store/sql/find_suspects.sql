-- Live jobs that nobody may be looking after, at most `limit`: those whose lease is over or will be
-- within `margin`, and those of workers whose sessions are all gone. Of rows that the original's
-- workers claimed, which know no leases, those that are dead already: `is_dead` in _lifecycle.py.
-- Reads only, and proves nothing: a server that stood still, or a clock that was set, makes every
-- lease look over. Whoever asks waits for a second look at the same lease before it sweeps.
-- A role may not see when the sessions of others began: such a session is taken for the worker's.
with queue as (
    select *
    from unnest(
        %(queue_name)s::text[], %(margin)s::interval[], %(reserved_timeout)s::interval[]
    ) as q (name, margin, reserved_timeout)
),
gone as materialized (
    select
        left(worker.id::text, 18) as prefix,
        extract(epoch from worker.latest_heartbeat_at)::text as heard_at
    from {schema}.worker
    where worker.session_pids <> array[]::integer[]
        and not exists (
            select
            from pg_catalog.pg_stat_activity as activity
            where activity.pid = any(worker.session_pids)
                and (
                    activity.backend_start is null
                    or activity.backend_start = any(worker.session_starts)
                )
        )
)
select
    job.queue_name,
    job.id::text,
    job.claim_token::text,
    extract(epoch from job.lease_expires_at)::text as lease_expires_at,
    job.claim_token is null or job.lease_expires_at < now() as is_expired,
    job.claim_token is not null
        and exists (select from gone where prefix = left(job.claim_token::text, 18))
        as is_abandoned,
    -- Of what has no length, such as between two infinities, it is zero.
    coalesce(
        nullif(
            extract(epoch from job.lease_expires_at)
                - extract(
                    epoch from greatest(job.reserved_at, job.started_at, job.latest_heartbeat_at)
                ),
            'NaN'
        ),
        0
    )::float8 as length,
    case when job.has_children then coalesce(job.original_attempt_id, job.id)::text end as children_of,
    (select max(heard_at) from gone where prefix = left(job.claim_token::text, 18)) as heard_at
from queue
join {schema}.job on job.queue_name = queue.name
where job.queue_name = any(%(queue_name)s::text[])
    and job.reserved_at is not null
    and job.finished_at is null
    and job.cancelled_at is null
    and case
        when job.claim_token is not null
        then job.lease_expires_at < now() + queue.margin -- rule: a lease that is over is seen
            or left(job.claim_token::text, 18) in (select prefix from gone)
        when job.status = 'executing' then job.deadline < now()
        else job.reserved_at < now() - queue.reserved_timeout
    end
limit %(limit)s::bigint
