-- version: 2026-11-28T21:00:00Z
-- works from: 2026-11-25T00:00:00Z
-- Rates with a clock for each key, and jobs that cost more of a rate than others.

alter table {schema}.queue
    -- Where in the input of its jobs the key is by which their rate goes, and what each costs of it.
    add column rate_path text[],
    add column cost_path text[];

-- When the next job of a key may begin by the rate, if none is late. Whoever reads or writes it has the
-- row of the limiter locked. One that is so long ago that all of the burst has been saved up says nothing
-- more, and is deleted: there are as many as keys of which jobs have begun of late.
create table {schema}.rate_clock (
    limiter text not null,
    key text not null,
    next_start_at timestamptz not null,
    primary key (limiter, key)
);

create index rate_clock_idle_idx on {schema}.rate_clock (limiter, next_start_at);

-- The keys of which jobs are held up by a rate, and when to look at each of them again: never later than
-- the clock of the key says.
create table {schema}.rate_line (
    queue_name text not null,
    key text not null,
    look_at timestamptz not null,
    primary key (queue_name, key)
);

create index rate_line_due_idx on {schema}.rate_line (queue_name, look_at, key);
