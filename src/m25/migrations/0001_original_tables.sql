-- version: 2025-08-25T21:04:34Z
-- The tables of the original m25, as it makes them, so that its databases and ours are one kind.
-- "if not exists": a database made by the original has them already, and keeps its rows.

-- "create schema if not exists" wants the right to create schemas also where there is this one.
do $m25_create$
begin
    if to_regnamespace($m25_name${schema}$m25_name$) is null then
        create schema {schema};
    end if;
end
$m25_create$;

create table if not exists {schema}.version (
    version timestamptz not null primary key,
    created_at timestamptz not null default now()
);

create table if not exists {schema}.job (
    id uuid not null primary key default gen_random_uuid(),
    queue_name text not null,
    created_at timestamptz not null default now(),
    scheduled_at timestamptz,
    input jsonb not null,
    reserved_at timestamptz,
    started_at timestamptz,
    cancelled_at timestamptz,
    finished_at timestamptz,
    timeout interval not null,
    output jsonb,
    deadline timestamptz,
    latest_heartbeat_at timestamptz,
    failure_reason text,
    error_data jsonb,
    status text not null generated always as (
        case
            when cancelled_at is not null then 'cancelled'
            when reserved_at is null then 'pending'
            when started_at is null then 'reserved'
            when finished_at is null then 'executing'
            when failure_reason is null then 'succeeded'
            else 'failed'
        end
    ) stored,
    attempt integer not null,
    max_attempts integer not null default 10,
    original_attempt_id uuid references {schema}.job (id),
    previous_attempt_id uuid references {schema}.job (id),
    retry_delay interval not null default interval '0 seconds',
    unique_key text
);

create unique index if not exists job_unique_key_idx on {schema}.job (unique_key)
    where status not in ('failed', 'cancelled');
