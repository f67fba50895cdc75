-- version: 2026-11-28T04:00:00Z
-- works from: 2026-11-25T00:00:00Z
-- When jobs that ended long ago were last looked for.

alter table {schema}.queue
    -- The process that has written this looks through the queue's jobs; others leave that to it.
    add column pruned_at timestamptz;
