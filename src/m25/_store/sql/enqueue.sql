-- Insert new jobs.
-- Safe under concurrency: a row whose id or unique key exists is skipped by the index itself, never
-- an error, so a caller's transaction stays usable; a key being inserted by another transaction is
-- waited for. Rows go in ordered by key, so that two batches with the same keys cannot deadlock.
-- `channels` are told in the same commit; an empty array tells nobody.
with wanted as (
    select *
    from unnest(
        %(id)s::uuid[],
        %(queue_name)s::text[],
        %(input)s::jsonb[],
        %(scheduled_at)s::timestamptz[],
        %(timeout)s::interval[],
        %(max_attempts)s::integer[],
        %(retry_delay)s::interval[],
        %(unique_key)s::text[],
        %(priority)s::smallint[],
        %(meta)s::jsonb[]
    ) as w (
        id, queue_name, input, scheduled_at, timeout, max_attempts, retry_delay, unique_key,
        priority, meta
    )
),
inserted as (
    insert into {schema}.job (
        id, queue_name, input, scheduled_at, timeout, attempt, max_attempts, retry_delay,
        unique_key, priority, meta
    )
    select
        id, queue_name, input, scheduled_at, timeout, 1, max_attempts, retry_delay, unique_key,
        priority, meta
    from wanted
    order by unique_key, id
    on conflict do nothing
    returning id, created_at
)
select
    id::text,
    extract(epoch from created_at)::text as created_at,
    (select count(pg_notify(channel, '')) from unnest(%(channels)s::text[]) as channel) as told
from inserted
