-- Claim up to `limit` due jobs of a queue: reserve them, and where `start` is true begin executing in
-- the same statement.
-- Safe under concurrency: `for update skip locked` gives a row to one claimer, and the row is locked
-- and re-checked before it is written; under READ COMMITTED, which the pool sets.
-- Priorities are visited one by one (a loose index scan), so jobs scheduled for later in one priority
-- are not walked over to reach work in the next. Ids go through an array, so that the planner finds
-- the rows by primary key whatever it believes about their number.
-- The deadline is kept within what a timestamp can hold, a thousand years: a row may ask for any
-- timeout. It is counted in seconds, since an interval's day may have 23 hours, or 25, where the
-- session's time zone changes its clocks.
with recursive level (priority) as (
    (
        select priority from {schema}.job
        where queue_name = %(queue_name)s::text and status = 'pending'
        order by priority limit 1
    )
    union all
    select (
        select job.priority from {schema}.job
        where queue_name = %(queue_name)s::text and status = 'pending' and job.priority > level.priority
        order by job.priority limit 1
    )
    from level
    where level.priority is not null
),
due as materialized (
    select candidate.id
    from level
    cross join lateral (
        select id from {schema}.job
        where queue_name = %(queue_name)s::text
            and status = 'pending'
            and job.priority = level.priority
            and run_at <= now()
        order by run_at, id
        limit %(limit)s::bigint
        for update skip locked
    ) as candidate
    where level.priority is not null
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
