-- version: 2026-11-28T02:00:00Z
-- works from: 2026-11-25T00:00:00Z
-- Queues that somebody has paused; limits on how many of their jobs run at once, and begin, anywhere.

alter table {schema}.queue
    -- Since when no worker claims its jobs; null while it is not paused.
    add column paused_at timestamptz,
    -- Why, in the words of whoever has paused it.
    add column pause_reason text,
    -- The limit under which its jobs run, and where in their input the key is by which they are counted.
    add column limiter text,
    add column limit_path text[];

-- A limit, of one queue or shared by several. Who claims under it has its row locked, and then counts
-- the jobs that run: so of two claims one comes after the other, and no count has to be kept.
create table {schema}.limiter (
    name text not null primary key,
    -- How many may run at once, for each key: as the workers declare it, and as somebody has set it
    -- since, which goes before that. Null is any number.
    declared integer,
    set_to integer,
    -- From when on a process whose job ends leaves its place to others; null while nobody waits for one.
    turn_at timestamptz,
    -- How many seconds lie between two of them that begin, if they have a rate; how many may begin
    -- beyond that; and when the next may, if none is late.
    rate_interval float8,
    rate_burst integer,
    next_start_at timestamptz
);

-- Both are null but for a job that is due while all that may run with its key do. It is held up: nobody
-- looks at it, its `scheduled_at` is in the year 9000, until one of these has ended.
alter table {schema}.job
    add column limit_key text,
    -- What its `run_at` was: its place among the others.
    add column was_due_at timestamptz;

create index job_held_up_idx on {schema}.job (queue_name, limit_key, priority, was_due_at, id)
    where was_due_at is not null and reserved_at is null and cancelled_at is null;
