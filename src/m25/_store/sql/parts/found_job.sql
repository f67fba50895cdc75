-- The columns of a `FoundJob`. What may be long is cut.
id::text,
coalesce(original_attempt_id, id)::text as job_id,
queue_name,
status,
attempt,
max_attempts,
losses,
priority,
extract(epoch from created_at)::text as created_at,
extract(
    epoch from case
        when was_due_at is not null and run_at > '8000-01-01Z' then was_due_at
        else run_at
    end
)::text as run_at,
extract(epoch from started_at)::text as started_at,
extract(epoch from coalesce(finished_at, cancelled_at))::text as ended_at,
failure_reason,
left(
    coalesce(
        left(crash_type, 300) || coalesce(': ' || left(crash_message, 300), ''),
        error_data::text,
        case when cancelled_at is not null then cancel_reason end
    ),
    300
) as error,
left(input::text, 300) as input,
unique_key,
parent_id::text,
cancel_requested_at is not null and finished_at is null and cancelled_at is null as is_to_cancel
