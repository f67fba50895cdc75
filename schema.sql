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

CREATE FUNCTION m25.enqueue(queue_name text, input jsonb, scheduled_at timestamp with time zone DEFAULT NULL::timestamp with time zone, expires_at timestamp with time zone DEFAULT NULL::timestamp with time zone, timeout interval DEFAULT NULL::interval, max_attempts integer DEFAULT NULL::integer, retry_delay interval DEFAULT NULL::interval, unique_key text DEFAULT NULL::text, priority integer DEFAULT 0, meta jsonb DEFAULT NULL::jsonb, id uuid DEFAULT NULL::uuid, skip_conflicts boolean DEFAULT false, notify boolean DEFAULT true) RETURNS uuid
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
#variable_conflict use_variable
declare
    century constant interval := '36525 days';
    own_retry constant boolean := max_attempts is not null or retry_delay is not null;
    problem constant text := case
        when queue_name is null then 'queue_name must not be null'
        when octet_length(queue_name) not between 1 and 1000
        then 'queue_name must have from 1 to 1000 bytes'
        when input is null then 'input must not be null; the null of JSON is ''null'''
        when extract(year from scheduled_at at time zone 'UTC') not between 1 and 9999
        then 'scheduled_at must lie within the years 1 to 9999'
        when extract(year from expires_at at time zone 'UTC') not between 1 and 9999
        then 'expires_at must lie within the years 1 to 9999'
        when expires_at < scheduled_at then 'expires_at must not be before scheduled_at'
        when timeout <= interval '0' or timeout > century
        then 'timeout must be more than zero, and at most 36525 days'
        when max_attempts < 1 then 'max_attempts must be at least 1'
        when retry_delay < interval '0' or retry_delay > century
        then 'retry_delay must be zero or more, and at most 36525 days'
        when octet_length(unique_key) not between 1 and 2000
        then 'unique_key must have from 1 to 2000 bytes; a hash of a longer one would do'
        when priority not between -32768 and 32767
        then 'priority must be from -32768 to 32767'
        when jsonb_typeof(meta) <> 'object' then 'meta must be a JSON object'
    end;
    microseconds constant bigint := extract(epoch from clock_timestamp()) * 1000000;
    queue record;
    order_key text;
    is_same boolean;
    holder uuid;
begin
    if problem is not null then
        raise invalid_parameter_value using message = 'm25.enqueue: ' || problem;
    end if;
    priority := coalesce(priority, 0);
    notify := coalesce(notify, true);
    -- In the order in which they were made, as all ids of m25's are: version 7 of RFC 9562.
    id := coalesce(
        id,
        (
            lpad(to_hex(microseconds / 1000), 12, '0')
            || '7' || lpad(to_hex(microseconds % 1000 * 4), 3, '0')
            || right(replace(gen_random_uuid()::text, '-', ''), 16)
        )::uuid
    );
    select default_job_timeout, default_max_attempts, default_retry_delay, channel, order_path
    into queue
    from "m25".queue
    where name = queue_name;
    if queue.order_path is not null then
        order_key := left(coalesce(input #>> queue.order_path, ''), 200);
    end if;
    -- A key may be let go after it was found held, and before its holder is looked for.
    for attempt in 1..5 loop
        insert into "m25".job (
            id, queue_name, input, scheduled_at, expires_at, timeout, attempt, max_attempts,
            retry_delay, own_retry, unique_key, priority, meta, order_key, order_number
        ) values (
            id, queue_name, input, scheduled_at, expires_at,
            coalesce(timeout, queue.default_job_timeout, interval '5 minutes'),
            1,
            coalesce(max_attempts, queue.default_max_attempts, 1),
            coalesce(
                retry_delay, case when not own_retry then queue.default_retry_delay end, interval '0'
            ),
            nullif(own_retry, false), unique_key, priority, meta, order_key,
            -- rule: a job from SQL has its place
            case when order_key is not null then "m25".next_order_number() end
        )
        on conflict do nothing -- rule: a call from SQL can be repeated
        ;
        if found then
            if notify and queue.channel is not null then
                -- rule: a job from SQL is notified
                perform pg_notify(queue.channel, '');
            end if;
            return id;
        end if;
        -- Another job of the same id is an error, whatever its key. A handler may have put it off since.
        select
            job.queue_name = queue_name
            and job.input = input
            and coalesce(job.scheduled_at, '-infinity') >= coalesce(scheduled_at, '-infinity')
            and job.expires_at is not distinct from expires_at
            and job.timeout = coalesce(timeout, job.timeout)
            and job.max_attempts = coalesce(max_attempts, job.max_attempts)
            and job.retry_delay = coalesce(retry_delay, job.retry_delay)
            and job.unique_key is not distinct from unique_key
            and job.priority = priority
            and job.meta is not distinct from meta
        into is_same
        from "m25".job
        where job.id = id;
        if is_same then
            return id;
        elsif found then
            raise unique_violation using
                message = format('m25.enqueue: another job has the id %s', id),
                hint = 'It has another queue, another input or other options.',
                table = 'job', constraint = 'job_pkey';
        end if;
        select job.id
        into holder
        from "m25".job
        where job.unique_key = unique_key and job.status not in ('failed', 'cancelled');
        if found and skip_conflicts then
            return null;
        elsif found then
            raise unique_violation using
                message = format('m25.enqueue: another job holds the unique key %L', unique_key),
                detail = format('It is held by job %s.', holder),
                table = 'job', constraint = 'job_unique_key_idx';
        end if;
    end loop;
    raise serialization_failure using
        message = 'm25.enqueue: the unique key is taken and let go faster than it can be looked up';
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

CREATE FUNCTION m25.let_keys_of_deleted_jobs_go_on() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
    delete from "m25".stopped_key
    where stopped_key.job_id in (select coalesce(original_attempt_id, id) from gone)
        and not exists (
            select
            from "m25".job
            where job.id = stopped_key.job_id or job.original_attempt_id = stopped_key.job_id
        );
    return null;
end
$$;

CREATE FUNCTION m25.next_order_number() RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
begin
    return nextval($name$"m25".order_number$name$);
end
$_$;

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
    nursery text,
    session_losses integer,
    unknown_since timestamp with time zone,
    stack_asked_at timestamp with time zone,
    stack text,
    lane text,
    order_key text,
    order_number bigint,
    place uuid
)
WITH (fillfactor='90', autovacuum_vacuum_scale_factor='0.02', autovacuum_vacuum_cost_delay='0', autovacuum_analyze_scale_factor='0.02');

CREATE TABLE m25.limit_holder (
    id uuid NOT NULL,
    limiter text,
    key text NOT NULL,
    taken_at timestamp with time zone DEFAULT now() NOT NULL,
    lease interval NOT NULL,
    lease_expires_at timestamp with time zone NOT NULL
);

CREATE TABLE m25.limiter (
    name text NOT NULL,
    declared integer,
    set_to integer,
    turn_at timestamp with time zone,
    rate_interval double precision,
    rate_burst integer,
    next_start_at timestamp with time zone,
    is_held boolean DEFAULT false NOT NULL,
    held_path text[],
    awaited_since timestamp with time zone,
    awaited_key text,
    asked_at timestamp with time zone,
    jobs_next boolean DEFAULT false NOT NULL
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

CREATE SEQUENCE m25.order_number
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

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
    pruned_at timestamp with time zone,
    default_retry_delay interval,
    lane_path text[],
    order_path text[],
    holds_failed boolean,
    rate_path text[],
    cost_path text[],
    keys_changed_at timestamp with time zone
);

CREATE TABLE m25.rate_clock (
    limiter text NOT NULL,
    key text NOT NULL,
    next_start_at timestamp with time zone NOT NULL
);

CREATE TABLE m25.rate_line (
    queue_name text NOT NULL,
    key text NOT NULL,
    look_at timestamp with time zone NOT NULL
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

CREATE TABLE m25.stopped_key (
    job_id uuid NOT NULL,
    queue_name text NOT NULL,
    order_key text NOT NULL,
    order_number bigint NOT NULL,
    stopped_at timestamp with time zone DEFAULT now() NOT NULL
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

ALTER TABLE ONLY m25.limit_holder
    ADD CONSTRAINT limit_holder_pkey PRIMARY KEY (id);

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

ALTER TABLE ONLY m25.rate_clock
    ADD CONSTRAINT rate_clock_pkey PRIMARY KEY (limiter, key);

ALTER TABLE ONLY m25.rate_line
    ADD CONSTRAINT rate_line_pkey PRIMARY KEY (queue_name, key);

ALTER TABLE ONLY m25.schedule
    ADD CONSTRAINT schedule_pkey PRIMARY KEY (name);

ALTER TABLE ONLY m25.step
    ADD CONSTRAINT step_pkey PRIMARY KEY (job_id, kind, name, key);

ALTER TABLE ONLY m25.stopped_key
    ADD CONSTRAINT stopped_key_pkey PRIMARY KEY (job_id);

ALTER TABLE ONLY m25.version
    ADD CONSTRAINT version_pkey PRIMARY KEY (version);

ALTER TABLE ONLY m25.worker
    ADD CONSTRAINT worker_pkey PRIMARY KEY (id);

CREATE INDEX held_key_job_id_idx ON m25.held_key USING btree (job_id);

CREATE INDEX job_attempt_idx ON m25.job USING btree (original_attempt_id, attempt) WHERE (original_attempt_id IS NOT NULL);

CREATE INDEX job_claim_idx ON m25.job USING btree (queue_name, priority, run_at, id) WHERE (status = 'pending'::text);

CREATE INDEX job_held_up_idx ON m25.job USING btree (queue_name, limit_key, priority, was_due_at, id) WHERE ((was_due_at IS NOT NULL) AND (reserved_at IS NULL) AND (cancelled_at IS NULL));

CREATE INDEX job_lane_idx ON m25.job USING btree (queue_name, lane, priority, run_at, id) WHERE ((lane IS NOT NULL) AND (status = 'pending'::text));

CREATE INDEX job_live_idx ON m25.job USING btree (queue_name) WHERE ((reserved_at IS NOT NULL) AND (finished_at IS NULL) AND (cancelled_at IS NULL));

CREATE INDEX job_newer_idx ON m25.job USING btree (queue_name, scheduled_at) WHERE ((unknown_since IS NOT NULL) AND (was_due_at IS NULL) AND (reserved_at IS NULL) AND (cancelled_at IS NULL));

CREATE INDEX job_order_idx ON m25.job USING btree (queue_name, order_key, order_number) WHERE ((order_number IS NOT NULL) AND (finished_at IS NULL) AND (cancelled_at IS NULL));

CREATE INDEX job_parent_id_idx ON m25.job USING btree (parent_id) WHERE (parent_id IS NOT NULL);

CREATE UNIQUE INDEX job_unique_key_idx ON m25.job USING btree (unique_key) WHERE ((unique_key IS NOT NULL) AND (status <> ALL (ARRAY['failed'::text, 'cancelled'::text])));

CREATE INDEX job_unsuccessful_idx ON m25.job USING btree (id, queue_name, status) WHERE (status = ANY (ARRAY['failed'::text, 'cancelled'::text]));

CREATE INDEX limit_holder_limiter_idx ON m25.limit_holder USING btree (limiter, key);

CREATE INDEX rate_clock_idle_idx ON m25.rate_clock USING btree (limiter, next_start_at);

CREATE INDEX rate_line_due_idx ON m25.rate_line USING btree (queue_name, look_at, key);

CREATE INDEX stopped_key_idx ON m25.stopped_key USING btree (queue_name, order_key, order_number);

CREATE TRIGGER forget_claim BEFORE UPDATE ON m25.job FOR EACH ROW WHEN (((new.reserved_at IS NULL) AND (new.claim_token IS NOT NULL))) EXECUTE FUNCTION m25.forget_claim();

CREATE TRIGGER job_deleted AFTER DELETE ON m25.job REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION m25.delete_what_jobs_kept();

CREATE TRIGGER job_deleted_keys AFTER DELETE ON m25.job REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION m25.free_keys_of_deleted_jobs();

CREATE TRIGGER job_deleted_order AFTER DELETE ON m25.job REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION m25.let_keys_of_deleted_jobs_go_on();

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
insert into "m25".version (version, works_from) values ('2026-11-28T05:00:00+00:00', '2026-11-25T00:00:00+00:00');
insert into "m25".version (version, works_from) values ('2026-11-28T06:00:00+00:00', '2026-11-25T00:00:00+00:00');
insert into "m25".version (version, works_from) values ('2026-11-28T07:00:00+00:00', '2026-11-25T00:00:00+00:00');
insert into "m25".version (version, works_from) values ('2026-11-28T09:00:00+00:00', '2026-11-25T00:00:00+00:00');
insert into "m25".version (version, works_from) values ('2026-11-28T11:00:00+00:00', '2026-11-25T00:00:00+00:00');
insert into "m25".version (version, works_from) values ('2026-11-28T12:00:00+00:00', '2026-11-25T00:00:00+00:00');
insert into "m25".version (version, works_from) values ('2026-11-28T13:30:00+00:00', '2026-11-25T00:00:00+00:00');
insert into "m25".version (version, works_from) values ('2026-11-28T14:00:00+00:00', '2026-11-25T00:00:00+00:00');
insert into "m25".version (version, works_from) values ('2026-11-28T17:30:00+00:00', '2026-11-25T00:00:00+00:00');
insert into "m25".version (version, works_from) values ('2026-11-28T21:00:00+00:00', '2026-11-25T00:00:00+00:00');
insert into "m25".version (version, works_from) values ('2026-11-28T23:32:00+00:00', '2026-11-25T00:00:00+00:00');
insert into "m25".version (version, works_from) values ('2026-11-29T00:00:00+00:00', '2026-11-25T00:00:00+00:00');
insert into "m25".version (version, works_from) values ('2026-11-29T00:10:00+00:00', '2026-11-25T00:00:00+00:00');
