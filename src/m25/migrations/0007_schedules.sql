-- version: 2026-11-28T01:00:00Z
-- works from: 2026-11-25T00:00:00Z
-- Schedules, and how far each of them has come.

-- What clients declare is written down when they start, and the same name is the same schedule. An
-- operator may delete a row that nobody declares any more.
create table {schema}.schedule (
    name text not null primary key,
    created_at timestamptz not null default now(),
    -- When a process has last said that it has declared it like this. They say so again now and then.
    declared_at timestamptz not null default now(),
    -- Counts how often the declaration has changed: who declared it otherwise does not tick.
    revision integer not null default 1,
    queue_name text not null,
    -- One of the two is null: five fields as of cron, or the time between ticks.
    expression text,
    every interval,
    timezone text not null,
    catch_up text not null,
    overlap text not null,
    paused_at timestamptz,
    -- The latest tick that was claimed: with its job, in one statement. It never goes back.
    last_tick timestamptz not null default now(),
    -- The first attempt of the job of the latest tick that has one.
    last_job_id uuid
);
