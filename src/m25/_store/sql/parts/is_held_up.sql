-- The row is held up: it waits for its key, whatever the time. job_held_up_idx has all such rows.
was_due_at is not null
    and reserved_at is null
    and cancelled_at is null
    and scheduled_at > timestamptz '8000-01-01 00:00:00+00' -- rule: what somebody has put off waits for its time
