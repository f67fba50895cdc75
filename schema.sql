-- The whole schema of m25, as the migrations in src/m25/migrations make it in an empty database.
-- Generated: do not edit it, add a migration and run `python tools/schema.py`. A test holds it to
-- the migrations. What a database needs is printed by `m25 migrate`; this file is for reading.

CREATE SCHEMA m25;

CREATE FUNCTION m25.delete_what_jobs_kept() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
    kept_by uuid[] := array(
        select distinct coalesce(gone.original_attempt_id, gone.id)
        from gone
        where exists (
                select from "m25".step
                where step.job_id = coalesce(gone.original_attempt_id, gone.id)
            )
            or exists (
                select from "m25".message
                where message.job_id = coalesce(gone.original_attempt_id, gone.id)
            )
    );
begin
    if cardinality(kept_by) > 0 then
        kept_by := array(
            select kept.id
            from unnest(kept_by) as kept (id)
            where not exists (select from "m25".job where job.id = kept.id)
                and not exists (select from "m25".job where job.original_attempt_id = kept.id)
        );
        delete from "m25".step where job_id = any(kept_by);
        delete from "m25".message where job_id = any(kept_by);
    end if;
    return null;
end
$$;

CREATE FUNCTION m25.forget_claim() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
    new.claim_token := null;
    new.lease_expires_at := null;
    return new;
end
$$;

CREATE FUNCTION m25.free_keys_of_deleted_jobs() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
    delete from "m25".held_key
    where (queue_name, key) in (
        select held.queue_name, held.key
        from "m25".held_key as held
        where held.job_id in (select coalesce(original_attempt_id, id) from gone)
            and held.holding <> 'ever'
            and (held.until is null or held.until < now())
            and not exists (
                select
                from "m25".job
                where job.id = held.job_id or job.original_attempt_id = held.job_id
            )
        for update skip locked
    );
    return null;
end
$$;

CREATE TABLE m25.held_key (
    queue_name text NOT NULL,
    key text NOT NULL,
    job_id uuid,
    holding text,
    until timestamp with time zone
);

CREATE TABLE m25.job (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    queue_name text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    scheduled_at timestamp with time zone,
    input jsonb NOT NULL,
    reserved_at timestamp with time zone,
    started_at timestamp with time zone,
    cancelled_at timestamp with time zone,
    finished_at timestamp with time zone,
    timeout interval NOT NULL,
    output jsonb,
    deadline timestamp with time zone,
    latest_heartbeat_at timestamp with time zone,
    failure_reason text,
    error_data jsonb,
    status text GENERATED ALWAYS AS (
CASE
    WHEN (cancelled_at IS NOT NULL) THEN 'cancelled'::text
    WHEN (reserved_at IS NULL) THEN 'pending'::text
    WHEN (started_at IS NULL) THEN 'reserved'::text
    WHEN (finished_at IS NULL) THEN 'executing'::text
    WHEN (failure_reason IS NULL) THEN 'succeeded'::text
    ELSE 'failed'::text
END) STORED NOT NULL,
    attempt integer NOT NULL,
    max_attempts integer DEFAULT 10 NOT NULL,
    original_attempt_id uuid,
    previous_attempt_id uuid,
    retry_delay interval DEFAULT '00:00:00'::interval NOT NULL,
    unique_key text,
    priority smallint DEFAULT 0 NOT NULL,
    run_at timestamp with time zone GENERATED ALWAYS AS (COALESCE(scheduled_at, created_at)) STORED NOT NULL,
    claim_token uuid,
    lease_expires_at timestamp with time zone,
    losses integer DEFAULT 0 NOT NULL,
    crash_type text,
    crash_message text,
    crash_traceback text,
    meta jsonb,
    expires_at timestamp with time zone,
    own_retry boolean,
    cancel_requested_at timestamp with time zone,
    cancelled_by text,
    cancel_reason text,
    setup_failures integer,
    progress jsonb,
    waiter text,
    parent_id uuid,
    has_children boolean,
    messages integer,
    awaits text,
    limit_key text,
    was_due_at timestamp with time zone,
    has_begun boolean,
    follows uuid,
    stack_asked_at timestamp with time zone,
    stack text
)
WITH (fillfactor='90', autovacuum_vacuum_scale_factor='0.02', autovacuum_vacuum_cost_delay='0', autovacuum_analyze_scale_factor='0.02');

CREATE TABLE m25.limiter (
    name text NOT NULL,
    declared integer,
    set_to integer,
    rate_interval double precision,
    rate_burst integer,
    next_start_at timestamp with time zone
);

CREATE TABLE m25.message (
    job_id uuid NOT NULL,
    id bigint NOT NULL,
    key text NOT NULL,
    name text NOT NULL,
    value jsonb NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    received_at timestamp with time zone
);

ALTER TABLE m25.message ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME m25.message_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE m25.queue (
    name text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    default_job_timeout interval NOT NULL,
    default_max_attempts integer,
    on_failure text,
    channel text,
    paused_at timestamp with time zone,
    pause_reason text,
    limiter text,
    limit_path text[],
    pruned_at timestamp with time zone
);

CREATE TABLE m25.schedule (
    name text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    declared_at timestamp with time zone DEFAULT now() NOT NULL,
    revision integer DEFAULT 1 NOT NULL,
    queue_name text NOT NULL,
    expression text,
    every interval,
    timezone text NOT NULL,
    catch_up text NOT NULL,
    overlap text NOT NULL,
    paused_at timestamp with time zone,
    last_tick timestamp with time zone DEFAULT now() NOT NULL,
    last_job_id uuid
);

CREATE TABLE m25.step (
    job_id uuid NOT NULL,
    kind text NOT NULL,
    name text NOT NULL,
    key text NOT NULL,
    attempt_id uuid NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    fingerprint text,
    until timestamp with time zone,
    output jsonb
);

CREATE TABLE m25.version (
    version timestamp with time zone NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    works_from timestamp with time zone,
    CONSTRAINT version_check CHECK ((works_from <= version))
);

CREATE TABLE m25.worker (
    id uuid NOT NULL,
    started_at timestamp with time zone DEFAULT now() NOT NULL,
    latest_heartbeat_at timestamp with time zone DEFAULT now() NOT NULL,
    ended_at timestamp with time zone,
    version text NOT NULL,
    queues text[] NOT NULL,
    session_pids integer[] NOT NULL,
    session_starts timestamp with time zone[] NOT NULL
);

ALTER TABLE ONLY m25.held_key
    ADD CONSTRAINT held_key_pkey PRIMARY KEY (queue_name, key);

ALTER TABLE ONLY m25.job
    ADD CONSTRAINT job_pkey PRIMARY KEY (id);

ALTER TABLE m25.job
    ADD CONSTRAINT job_waiter_check CHECK ((waiter ~ '^m25_[0-9a-z_]{1,59}$'::text)) NOT VALID;

ALTER TABLE ONLY m25.limiter
    ADD CONSTRAINT limiter_pkey PRIMARY KEY (name);

ALTER TABLE ONLY m25.message
    ADD CONSTRAINT message_job_id_key_key UNIQUE (job_id, key);

ALTER TABLE ONLY m25.message
    ADD CONSTRAINT message_pkey PRIMARY KEY (job_id, id);

ALTER TABLE m25.queue
    ADD CONSTRAINT queue_channel_check CHECK ((channel ~ '^m25_[0-9a-z_]{1,59}$'::text)) NOT VALID;

ALTER TABLE ONLY m25.queue
    ADD CONSTRAINT queue_pkey PRIMARY KEY (name);

ALTER TABLE ONLY m25.schedule
    ADD CONSTRAINT schedule_pkey PRIMARY KEY (name);

ALTER TABLE ONLY m25.step
    ADD CONSTRAINT step_pkey PRIMARY KEY (job_id, kind, name, key);

ALTER TABLE ONLY m25.version
    ADD CONSTRAINT version_pkey PRIMARY KEY (version);

ALTER TABLE ONLY m25.worker
    ADD CONSTRAINT worker_pkey PRIMARY KEY (id);

CREATE INDEX held_key_job_id_idx ON m25.held_key USING btree (job_id);

CREATE INDEX job_claim_idx ON m25.job USING btree (queue_name, priority, run_at, id) WHERE (status = 'pending'::text);

CREATE INDEX job_held_up_idx ON m25.job USING btree (queue_name, limit_key, priority, was_due_at, id) WHERE ((was_due_at IS NOT NULL) AND (reserved_at IS NULL) AND (cancelled_at IS NULL));

CREATE INDEX job_live_idx ON m25.job USING btree (queue_name) WHERE ((reserved_at IS NOT NULL) AND (finished_at IS NULL) AND (cancelled_at IS NULL));

CREATE INDEX job_original_attempt_idx ON m25.job USING btree (original_attempt_id) WHERE (original_attempt_id IS NOT NULL);

CREATE INDEX job_parent_id_idx ON m25.job USING btree (parent_id) WHERE (parent_id IS NOT NULL);

CREATE INDEX job_previous_attempt_idx ON m25.job USING btree (previous_attempt_id) WHERE (previous_attempt_id IS NOT NULL);

CREATE UNIQUE INDEX job_unique_key_idx ON m25.job USING btree (unique_key) WHERE ((unique_key IS NOT NULL) AND (status <> ALL (ARRAY['failed'::text, 'cancelled'::text])));

CREATE TRIGGER forget_claim BEFORE UPDATE ON m25.job FOR EACH ROW WHEN (((new.reserved_at IS NULL) AND (new.claim_token IS NOT NULL))) EXECUTE FUNCTION m25.forget_claim();

CREATE TRIGGER job_deleted AFTER DELETE ON m25.job REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION m25.delete_what_jobs_kept();

CREATE TRIGGER job_deleted_keys AFTER DELETE ON m25.job REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION m25.free_keys_of_deleted_jobs();

insert into "m25".version (version) values ('2025-08-25T21:04:34+00:00');
insert into "m25".version (version) values ('2026-11-24T00:00:00+00:00');
insert into "m25".version (version) values ('2026-11-25T00:00:00+00:00');
insert into "m25".version (version, works_from) values ('2026-11-27T00:00:00+00:00', '2026-11-25T00:00:00+00:00');
insert into "m25".version (version, works_from) values ('2026-11-27T12:00:00+00:00', '2026-11-25T00:00:00+00:00');
insert into "m25".version (version, works_from) values ('2026-11-28T00:00:00+00:00', '2026-11-25T00:00:00+00:00');
insert into "m25".version (version, works_from) values ('2026-11-28T01:00:00+00:00', '2026-11-25T00:00:00+00:00');
insert into "m25".version (version, works_from) values ('2026-11-28T02:00:00+00:00', '2026-11-25T00:00:00+00:00');
insert into "m25".version (version, works_from) values ('2026-11-28T03:00:00+00:00', '2026-11-25T00:00:00+00:00');
insert into "m25".version (version, works_from) values ('2026-11-28T04:00:00+00:00', '2026-11-25T00:00:00+00:00');
insert into "m25".version (version, works_from) values ('2026-11-28T11:00:00+00:00', '2026-11-25T00:00:00+00:00');
