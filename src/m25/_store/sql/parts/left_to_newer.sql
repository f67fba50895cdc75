-- The row is pending, and was left to newer workers; job_newer_idx has all such rows.
unknown_since is not null
    and was_due_at is null
    and reserved_at is null
    and cancelled_at is null
