-- Read jobs by id. Times come as seconds since the epoch and JSON as text, so that a value Python
-- cannot hold is the reader's problem and not the whole batch's.
select
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
from {schema}.job
where id = any(%(id)s::uuid[])
