-- version: 2026-11-28T00:00:00Z
-- works from: 2026-11-25T00:00:00Z
-- What handlers keep over attempts, jobs that jobs start, and messages to jobs.

-- All may be null, and a null costs a row nothing.
alter table {schema}.job
    -- The job that started this one, and waits for it: the id of that one's first attempt.
    add column parent_id uuid,
    -- Whether it has started any that it waits for.
    add column has_children boolean,
    -- How many messages were sent to it.
    add column messages integer,
    -- The name of the message for which it is set aside.
    add column awaits text;

create index job_parent_id_idx on {schema}.job (parent_id) where parent_id is not null;

-- What a job's handler has done once, and does not do again in later attempts.
create table {schema}.step (
    -- The id of the job's first attempt.
    job_id uuid not null,
    -- What it is to the handler: step, sleep or receive.
    kind text not null,
    name text not null,
    -- Which of the steps of that name.
    key text not null,
    -- The attempt that has done it.
    attempt_id uuid not null,
    created_at timestamptz not null default now(),
    -- Of what the step was given: one that is given something else now is another step.
    fingerprint text,
    -- Until when the job sleeps, or waits for a message.
    until timestamptz,
    output jsonb,
    primary key (job_id, kind, name, key)
);

-- What was sent to a job, in order.
create table {schema}.message (
    job_id uuid not null,
    id bigint not null generated always as identity,
    -- By which a message that is sent again is known.
    key text not null,
    name text not null,
    value jsonb not null,
    created_at timestamptz not null default now(),
    -- When the job has received it.
    received_at timestamptz,
    primary key (job_id, id),
    unique (job_id, key)
);

-- Steps and messages go with the last row of their job, whoever deletes that, and in whatever order:
-- a foreign key would take them with the first row, while a later attempt needs them. Whoever may
-- delete jobs need not have rights to these tables, and so it runs with the rights of their owner.
create function {schema}.delete_what_jobs_kept() returns trigger
    language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
    kept_by uuid[] := array(
        select distinct coalesce(gone.original_attempt_id, gone.id)
        from gone
        where exists (
                select from {schema}.step
                where step.job_id = coalesce(gone.original_attempt_id, gone.id)
            )
            or exists (
                select from {schema}.message
                where message.job_id = coalesce(gone.original_attempt_id, gone.id)
            )
    );
begin
    if cardinality(kept_by) > 0 then
        kept_by := array(
            select kept.id
            from unnest(kept_by) as kept (id)
            where not exists (select from {schema}.job where job.id = kept.id)
                and not exists (select from {schema}.job where job.original_attempt_id = kept.id)
        );
        delete from {schema}.step where job_id = any(kept_by);
        delete from {schema}.message where job_id = any(kept_by);
    end if;
    return null;
end
$$;

-- It is the trigger's alone.
revoke all on function {schema}.delete_what_jobs_kept() from public;

create trigger job_deleted
    after delete on {schema}.job
    referencing old table as gone
    for each statement
    execute function {schema}.delete_what_jobs_kept();
