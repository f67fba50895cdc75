-- version: 2026-11-29T00:10:00Z
-- works from: 2026-11-25T00:00:00Z
-- Places of limits that are held outside of jobs: `async with m.limiter(limit)`.

alter table {schema}.limiter
    -- Whether a program has declared it that holds its places; and where in the input of jobs the key
    -- would be by which these are counted, if by any.
    add column is_held boolean not null default false,
    add column held_path text[],
    -- While somebody waits for a place outside of a job: since when, in which key, and when it has asked
    -- last. Where that is some seconds ago, it waits no more, or its process is gone.
    add column awaited_since timestamptz,
    add column awaited_key text,
    add column asked_at timestamptz,
    -- Where jobs have waited for a place, too: whether the next one is theirs.
    add column jobs_next boolean not null default false;

-- One row for each place that is held outside of a job. Where the place is given back, the row has another
-- id and no limiter, and is the next one's: so nobody needs the right to delete, and there are no more rows
-- than places were ever held at once.
create table {schema}.limit_holder (
    id uuid not null primary key,
    limiter text,
    key text not null,
    taken_at timestamptz not null default now(),
    -- From when it was written last, how long it holds; and until when that is.
    lease interval not null,
    lease_expires_at timestamptz not null
);

create index limit_holder_limiter_idx on {schema}.limit_holder (limiter, key);
