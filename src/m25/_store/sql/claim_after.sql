-- The same as claim.sql, starting where the latest claims ended: at a position for each priority.
-- While a transaction is held open anywhere, the entries of all that was claimed since stay in the
-- index, and a claim from the start walks over every one of them. What lies behind the positions (a
-- row that was committed late, handed back, or is of another priority) is not seen by this: claims
-- from the start come often enough.
-- Safe under concurrency for the same reasons.
with position as (
    select *
    from unnest(
        %(priority)s::smallint[], %(run_at)s::float8[], %(id)s::uuid[]
    ) as p (priority, seconds, id)
),
due as materialized (
    select candidate.id
    from position
    cross join lateral (
        select job.id from {schema}.job
        where queue_name = %(queue_name)s::text
            and status = 'pending'
            and job.priority = position.priority
            and (run_at, job.id) > (
                timestamptz 'epoch' + make_interval(secs => position.seconds), position.id
            )
            and run_at <= now()
        order by run_at, job.id
        limit %(limit)s::bigint
        for update skip locked
    ) as candidate
    limit %(limit)s::bigint
),
claimed as (
    update {schema}.job
    set
        reserved_at = now(),
        claim_token = %(claim_token)s::uuid,
        started_at = case when %(start)s::boolean then now() end,
        deadline = case
            when %(start)s::boolean
            then now() + make_interval(
                secs => greatest(least(extract(epoch from timeout), 31557600000), 0)::float8
            )
        end,
        lease_expires_at = now() + %(lease)s::interval
    where id = any(array(select id from due))
    returning
        id, queue_name, created_at, scheduled_at, input, reserved_at, started_at, timeout, status,
        deadline, attempt, max_attempts, original_attempt_id, previous_attempt_id, retry_delay,
        unique_key, priority, losses, meta, run_at
)
select
    id::text,
    queue_name,
    extract(epoch from created_at)::text as created_at,
    extract(epoch from scheduled_at)::text as scheduled_at,
    input::text,
    extract(epoch from reserved_at)::text as reserved_at,
    extract(epoch from started_at)::text as started_at,
    null::text as cancelled_at,
    null::text as finished_at,
    extract(epoch from timeout)::text as timeout,
    status,
    null::text as output,
    extract(epoch from deadline)::text as deadline,
    null::text as latest_heartbeat_at,
    null::text as failure_reason,
    null::text as error_data,
    attempt,
    max_attempts,
    original_attempt_id::text,
    previous_attempt_id::text,
    extract(epoch from retry_delay)::text as retry_delay,
    unique_key,
    priority,
    losses,
    null::text as crash_type,
    null::text as crash_message,
    null::text as crash_traceback,
    meta::text
from claimed
order by claimed.priority, claimed.run_at, claimed.id
