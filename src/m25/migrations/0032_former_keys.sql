-- version: 2026-11-28T23:32:00Z
-- works from: 2026-11-25T00:00:00Z
-- Queues whose jobs may be held up by a key that their limit or rate has no more.

alter table {schema}.queue
    -- When the key by which jobs are held up became another one, or none; null once no job is held up by
    -- a former one.
    add column keys_changed_at timestamptz;

-- Of what has been declared until now nobody knows. A probe for each queue.
update {schema}.queue
set keys_changed_at = now()
where (
    select true
    from {schema}.job
    where job.queue_name = queue.name
        and was_due_at is not null
        and reserved_at is null
        and cancelled_at is null
    limit 1
);
