-- version: 2026-11-28T07:00:00Z
-- works from: 2026-11-25T00:00:00Z
-- Failed jobs are found among all that have succeeded.

-- Whoever looks for what has failed reads this, and not the table. A job that succeeds has no entry here.
create index job_failed_idx on {schema}.job (id, queue_name) where status = 'failed';
