-- version: 2026-11-28T05:00:00Z
-- works from: 2026-11-25T00:00:00Z
-- Jobs from SQL: `select m25.enqueue('emails', '{"to": "ada"}')`.

alter table {schema}.queue
    -- How long after a failed attempt the next may run, where neither its job nor a worker that knows its
    -- queue says; null is at once.
    add column default_retry_delay interval;

-- Puts a job on a queue, and returns its id. The options are those of `m25.Job`; a null takes what the
-- queue's row says, which its workers write, and else m25's own default.
-- Who calls it needs the rights of an enqueuer: it is no `security definer`.
create function {schema}.enqueue(
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
    select default_job_timeout, default_max_attempts, default_retry_delay, channel
    into queue
    from {schema}.queue
    where name = queue_name;
    -- A key may be let go after it was found held, and before its holder is looked for.
    for attempt in 1..5 loop
        insert into {schema}.job (
            id, queue_name, input, scheduled_at, expires_at, timeout, attempt, max_attempts,
            retry_delay, own_retry, unique_key, priority, meta
        ) values (
            id, queue_name, input, scheduled_at, expires_at,
            coalesce(timeout, queue.default_job_timeout, interval '5 minutes'),
            1,
            coalesce(max_attempts, queue.default_max_attempts, 1),
            coalesce(
                retry_delay, case when not own_retry then queue.default_retry_delay end, interval '0'
            ),
            nullif(own_retry, false), unique_key, priority, meta
        )
        on conflict do nothing
        ;
        if found then
            if notify and queue.channel is not null then
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
