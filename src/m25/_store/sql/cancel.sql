-- Cancel a job if it is pending. Safe under concurrency: the update's own condition is checked again
-- on the row as it is once locked, so a job that was claimed meanwhile is left alone and no row comes
-- back. It says "pending" without naming the status, so that the row is found by its id, and never by
-- a walk over all that is pending on its queue.
update {schema}.job
set cancelled_at = now()
where id = %(id)s::uuid
    and queue_name = %(queue_name)s::text
    and reserved_at is null
    and cancelled_at is null
returning
    id::text,
    queue_name,
    extract(epoch from created_at)::text as created_at,
    extract(epoch from scheduled_at)::text as scheduled_at,
    input::text,
    extract(epoch from reserved_at)::text as reserved_at,
    extract(epoch from started_at)::text as started_at,
    extract(epoch from cancelled_at)::text as cancelled_at,
    extract(epoch from finished_at)::text as finished_at,
    extract(epoch from timeout)::text as timeout,
    status,
    output::text,
    extract(epoch from deadline)::text as deadline,
    extract(epoch from latest_heartbeat_at)::text as latest_heartbeat_at,
    failure_reason,
    error_data::text,
    attempt,
    max_attempts,
    original_attempt_id::text,
    previous_attempt_id::text,
    extract(epoch from retry_delay)::text as retry_delay,
    unique_key,
    priority,
    losses,
    crash_type,
    crash_message,
    crash_traceback,
    meta::text
