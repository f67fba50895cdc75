-- version: 2026-11-27T00:00:00Z
-- works from: 2026-11-25T00:00:00Z
-- Rows that can be deleted in any order, and what workers say of themselves.

-- The ids stay, and so do their indexes. As foreign keys they made the delete of old rows fail where
-- it met a chain in the wrong order, and tens of times dearer where it did not.
alter table {schema}.job
    drop constraint if exists job_original_attempt_id_fkey,
    drop constraint if exists job_previous_attempt_id_fkey;

-- What a queue's declaration says that others must know: written by a worker when it starts.
create table {schema}.queue (
    name text not null primary key,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    -- How long a handler may run, where its job does not say.
    default_job_timeout interval not null
);

-- The processes that run queues, and those that have run them. A worker may not delete: rows that
-- have ended are an operator's to delete, as old jobs are.
create table {schema}.worker (
    -- The first half of every claim token of this worker's is the first half of this id.
    id uuid not null primary key,
    started_at timestamptz not null default now(),
    latest_heartbeat_at timestamptz not null default now(),
    -- When it said goodbye, or was found to be gone.
    ended_at timestamptz,
    -- Of m25.
    version text not null,
    queues text[] not null,
    -- The server's processes that serve its connections, and when these began: while one of them is
    -- there, the worker is. None are named where a pooler is in between, which would be theirs.
    session_pids integer[] not null,
    session_starts timestamptz[] not null
);
