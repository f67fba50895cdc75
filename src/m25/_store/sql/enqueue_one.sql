-- Insert a new job: `enqueue` for a batch of one, at half the price, for who enqueues one by one.
-- Safe under concurrency: a row whose id or unique key exists is skipped by the index itself, never
-- an error, so a caller's transaction stays usable; a key being inserted by another transaction is
-- waited for. `channel`, if any, is told in the same commit.
insert into {schema}.job (
    id, queue_name, input, scheduled_at, timeout, attempt, max_attempts, retry_delay, unique_key,
    priority, meta
)
values (
    %(id)s::uuid,
    %(queue_name)s::text,
    %(input)s::jsonb,
    %(scheduled_at)s::timestamptz,
    %(timeout)s::interval,
    1,
    %(max_attempts)s::integer,
    %(retry_delay)s::interval,
    %(unique_key)s::text,
    %(priority)s::smallint,
    %(meta)s::jsonb
)
on conflict do nothing
returning
    id::text,
    extract(epoch from created_at)::text as created_at,
    case when %(channel)s::text is not null then pg_notify(%(channel)s::text, '')::text end as told
