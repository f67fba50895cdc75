-- version: 2026-11-24T00:00:00Z
-- What m25 on Trio adds to the original's table. Every column is nullable or has a default, so the
-- original's plain statements stay legal; one "alter table" for all, so that the table is rewritten
-- once.

-- The original's early releases had no timeout column; its later ones always fill it.
alter table {schema}.job add column if not exists timeout interval not null default interval '5 minutes';
alter table {schema}.job alter column timeout drop default;

-- The original's default is the UTC wall clock read in the session's time zone: hours off wherever
-- that is not UTC. A pending row dated into the future by it would wait for those hours here.
alter table {schema}.job alter column created_at set default now();
update {schema}.job set created_at = now()
    where status = 'pending' and scheduled_at is null and created_at > now();

alter table {schema}.job
    -- Lower runs first.
    add column priority smallint not null default 0,
    -- When it may run; a plain column of its own so that an index can order by it.
    add column run_at timestamptz not null
        generated always as (coalesce(scheduled_at, created_at)) stored,
    -- Who owns the attempt: a new token for every claim, named by every later write of that claim.
    add column claim_token uuid,
    -- By when the owner must have sent a heartbeat; null for rows of the original's workers.
    add column lease_expires_at timestamptz,
    -- How many attempts of this chain were lost with their process so far.
    add column losses integer not null default 0,
    add column crash_type text,
    add column crash_message text,
    add column crash_traceback text,
    -- The enqueuer's notes: a JSON object that m25 hands on and never reads.
    add column meta jsonb;

-- A row that nobody has reserved carries no claim. The original's worker gives a stuck reservation
-- back, and reserves it itself, without knowing of tokens: without this, the token of the worker
-- that lost the row would fit again.
create function {schema}.forget_claim() returns trigger language plpgsql as $forget_claim$
begin
    new.claim_token := null;
    new.lease_expires_at := null;
    return new;
end
$forget_claim$;

create trigger forget_claim before update on {schema}.job
    for each row when (new.reserved_at is null and new.claim_token is not null)
    execute function {schema}.forget_claim();

-- Claims walk this in order, one priority after the other.
create index job_claim_idx on {schema}.job (queue_name, priority, run_at, id)
    where status = 'pending';

-- Sweeps read the live rows of a queue. No column that a heartbeat writes is in any index, so
-- heartbeats are heap-only updates. The predicate says "reserved or executing" without naming the
-- status, so that statements which find rows by id and check the status are never planned over it:
-- where vacuum is held up it is full of entries that are dead.
create index job_live_idx on {schema}.job (queue_name)
    where reserved_at is not null and finished_at is null and cancelled_at is null;

-- Following a chain, and deleting old rows without a table scan for each reference.
create index job_previous_attempt_idx on {schema}.job (previous_attempt_id)
    where previous_attempt_id is not null;
create index job_original_attempt_idx on {schema}.job (original_attempt_id)
    where original_attempt_id is not null;

-- The original's index holds a row for every job without a key, too.
drop index {schema}.job_unique_key_idx;
create unique index job_unique_key_idx on {schema}.job (unique_key)
    where unique_key is not null and status not in ('failed', 'cancelled');

-- A queue outruns autovacuum's defaults.
alter table {schema}.job set (
    fillfactor = 90,
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_scale_factor = 0.02
);
