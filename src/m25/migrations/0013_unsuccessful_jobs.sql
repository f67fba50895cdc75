-- version: 2026-11-28T07:00:00Z
-- works from: 2026-11-25T00:00:00Z
-- What has failed, or was cancelled, is found among all that has succeeded.

-- Whoever looks for such jobs reads this, and not the table. A job that succeeds has no entry here.
create index job_unsuccessful_idx on {schema}.job (id, queue_name, status)
    where status in ('failed', 'cancelled');
