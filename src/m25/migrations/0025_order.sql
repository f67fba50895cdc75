-- version: 2026-11-28T14:00:00Z
-- works from: 2026-11-25T00:00:00Z
-- Queues whose jobs of one key run one after another, in the order in which they were enqueued.

alter table {schema}.queue
    -- Where in the input of its jobs the key is.
    add column order_path text[],
    -- Whether a job that has failed for good holds those behind it.
    add column holds_failed boolean;

-- Both are null but for a job of such a queue. They cost a row nothing. All attempts of a job have the same.
alter table {schema}.job
    add column order_key text,
    -- Its place: the lower comes first.
    add column order_number bigint;

-- What stands in the way of the jobs behind it: of each key the first is its head.
create index job_order_idx on {schema}.job (queue_name, order_key, order_number)
    where order_number is not null and finished_at is null and cancelled_at is null;

create sequence {schema}.order_number;

-- The next place. Whoever may put jobs need not have rights to the sequence.
create function {schema}.next_order_number() returns bigint
    language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
    return nextval($name${schema}.order_number$name$);
end
$$;

-- Keys that stand still: a job of theirs has failed for good, and those behind it wait until somebody
-- has retried or deleted it.
create table {schema}.stopped_key (
    -- The id of the job's first attempt.
    job_id uuid not null primary key,
    queue_name text not null,
    order_key text not null,
    -- The job's. What has a lower one does not wait for it.
    order_number bigint not null,
    stopped_at timestamptz not null default now()
);

create index stopped_key_idx on {schema}.stopped_key (queue_name, order_key, order_number);

-- A key goes on once the job is deleted for which it stands still. As with steps, whoever may delete jobs
-- need not have rights to the table.
create function {schema}.let_keys_of_deleted_jobs_go_on() returns trigger
    language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
    delete from {schema}.stopped_key
    where stopped_key.job_id in (select coalesce(original_attempt_id, id) from gone)
        and not exists (
            select
            from {schema}.job
            where job.id = stopped_key.job_id or job.original_attempt_id = stopped_key.job_id
        );
    return null;
end
$$;

revoke all on function {schema}.let_keys_of_deleted_jobs_go_on() from public;

create trigger job_deleted_order
    after delete on {schema}.job
    referencing old table as gone
    for each statement
    execute function {schema}.let_keys_of_deleted_jobs_go_on();

-- As it was, but that a job of a queue with an order has its place from the insert on.
create or replace function {schema}.enqueue(
    queue_name text,
    input jsonb,
    scheduled_at timestamptz default null,
    expires_at timestamptz default null,
    timeout interval default null,
    max_attempts integer default null,
    retry_delay interval default null,
    unique_key text default null,
    priority integer default 0,
    meta jsonb default null,
    -- An id of the caller's own makes the call safe to repeat.
    id uuid default null,
    -- Whether a job whose unique key is held is left out, and null returned, and no error raised.
    skip_conflicts boolean default false,
    -- Whether workers are notified at the commit. It excludes `prepare transaction`.
    notify boolean default true
) returns uuid
language plpgsql set search_path = pg_catalog, pg_temp
as $$
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
    from {schema}.queue
    where name = queue_name;
    if queue.order_path is not null then
        order_key := left(coalesce(input #>> queue.order_path, ''), 200);
    end if;
    -- A key may be let go after it was found held, and before its holder is looked for.
    for attempt in 1..5 loop
        insert into {schema}.job (
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
            case when order_key is not null then {schema}.next_order_number() end
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
        from {schema}.job
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
        from {schema}.job
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
