-- version: 2026-11-28T13:30:00Z
-- works from: 2026-11-25T00:00:00Z
-- The jobs of a queue that are left to newer workers stand in a line: its end, and its beginning.

-- Its condition is that of parts/left_to_newer.sql. No other job has an entry here.
create index job_newer_idx on {schema}.job (queue_name, scheduled_at)
    where unknown_since is not null
        and was_due_at is null
        and reserved_at is null
        and cancelled_at is null;
