-- version: 2026-11-27T12:00:00Z
-- works from: 2026-11-25T00:00:00Z
-- Jobs that can be waited for, cancelled while they run, put off, and followed when they have failed.

-- All may be null, and a null costs a row nothing: a job that uses none of this is as large as it was.
alter table {schema}.job
    -- Not to be started after this.
    add column expires_at timestamptz,
    -- Whether max_attempts and retry_delay were given with the job: they overrule the queue's.
    add column own_retry boolean,
    -- A claimed job cannot be cancelled by anybody but its owner: this asks the owner for it.
    add column cancel_requested_at timestamptz,
    add column cancelled_by text,
    add column cancel_reason text,
    -- How often this attempt was handed back since its setup had failed.
    add column setup_failures integer,
    -- How far the handler has come: what it reported, and its cursors.
    add column progress jsonb,
    -- The channel that is notified when the chain has ended: somebody waits for that.
    add column waiter text;

alter table {schema}.queue
    -- How many attempts a job has at most that does not say.
    add column default_max_attempts integer,
    -- The queue that is told of each chain that has failed.
    add column on_failure text,
    -- The channel on which its workers are notified.
    add column channel text;

-- A name that no channel can have would fail every statement that notifies it, with all that the
-- statement writes. Rows that are there have neither.
alter table {schema}.job
    add constraint job_waiter_check check (waiter ~ '^m25_[0-9a-z_]{1,59}$') not valid;
alter table {schema}.queue
    add constraint queue_channel_check check (channel ~ '^m25_[0-9a-z_]{1,59}$') not valid;
