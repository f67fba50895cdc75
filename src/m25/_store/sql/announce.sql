-- Say that a worker is there, which queues it runs, and by which sessions it is known: the one that
-- asks, and the one that listens, where there is one. And write down what its queues declare, but where
-- a worker is there that runs them, too, and was started later: its word counts for as long as something
-- was heard of it within `silence`. The row names those of its queues whose jobs may be held up by a key
-- that they have no more.
-- Safe under concurrency: a worker's row is its own, and the row of a queue, or of a limit, is written
-- in the order of names, by an upsert that leaves it alone where nothing has changed.
with session as (
    select array_agg(pid) as pids, array_agg(backend_start) as starts
    from pg_catalog.pg_stat_activity
    where %(listener_pid)s::integer is not null
        and pid in (pg_catalog.pg_backend_pid(), %(listener_pid)s::integer)
        and backend_start is not null
),
newer as materialized (
    select distinct unnest(queues) as name
    from {schema}.worker
    where id <> %(id)s::uuid
        and started_at > coalesce(
            (select started_at from {schema}.worker where id = %(id)s::uuid), now()
        )
        and ended_at is null
        and latest_heartbeat_at > now() - %(silence)s::interval
),
declared as (
    insert into {schema}.queue (
        name, default_job_timeout, default_max_attempts, default_retry_delay, on_failure, channel,
        limiter, limit_path, lane_path, rate_path, cost_path, order_path, holds_failed
    )
    select
        name, default_job_timeout, default_max_attempts, default_retry_delay, on_failure, channel,
        limiter, limit_path::text[], lane_path::text[], rate_path::text[], cost_path::text[],
        order_path::text[], holds_failed
    from unnest(
        %(queue_name)s::text[],
        %(default_job_timeout)s::interval[],
        %(default_max_attempts)s::integer[],
        %(default_retry_delay)s::interval[],
        %(on_failure)s::text[],
        %(channel)s::text[],
        %(limiter)s::text[],
        %(limit_path)s::text[],
        %(lane_path)s::text[],
        %(rate_path)s::text[],
        %(cost_path)s::text[],
        %(order_path)s::text[],
        %(holds_failed)s::boolean[]
    ) as q (
        name, default_job_timeout, default_max_attempts, default_retry_delay, on_failure, channel,
        limiter, limit_path, lane_path, rate_path, cost_path, order_path, holds_failed
    )
    where name not in (select name from newer) -- rule: who was started last says what a queue is
    order by name
    on conflict (name) do update
    set
        default_job_timeout = excluded.default_job_timeout,
        default_max_attempts = excluded.default_max_attempts,
        default_retry_delay = excluded.default_retry_delay,
        on_failure = excluded.on_failure,
        channel = excluded.channel,
        limiter = excluded.limiter,
        limit_path = excluded.limit_path,
        lane_path = excluded.lane_path,
        rate_path = excluded.rate_path,
        cost_path = excluded.cost_path,
        order_path = excluded.order_path,
        holds_failed = excluded.holds_failed,
        keys_changed_at = case
            when coalesce(queue.limit_path, queue.rate_path) is not null
                and (queue.limit_path, queue.rate_path)
                    is distinct from (excluded.limit_path, excluded.rate_path)
            then now() -- rule: what was held up by a former key is let go
            else queue.keys_changed_at
        end,
        updated_at = now()
    where (
            queue.default_job_timeout,
            queue.default_max_attempts,
            queue.default_retry_delay,
            queue.on_failure,
            queue.channel,
            queue.limiter,
            queue.limit_path,
            queue.lane_path,
            queue.rate_path,
            queue.cost_path,
            queue.order_path,
            queue.holds_failed
        )
        is distinct from (
            excluded.default_job_timeout,
            excluded.default_max_attempts,
            excluded.default_retry_delay,
            excluded.on_failure,
            excluded.channel,
            excluded.limiter,
            excluded.limit_path,
            excluded.lane_path,
            excluded.rate_path,
            excluded.cost_path,
            excluded.order_path,
            excluded.holds_failed
        )
    returning name, keys_changed_at
),
limited as (
    insert into {schema}.limiter (name, declared, rate_interval, rate_burst)
    select limiter, min(limit_size), max(rate_interval), min(rate_burst)
    from unnest(
        %(limiter)s::text[],
        %(limit_size)s::integer[],
        %(rate_interval)s::float8[],
        %(rate_burst)s::integer[]
    ) as l (limiter, limit_size, rate_interval, rate_burst)
    where limiter is not null
        -- rule: who was started last says how large a limit is
        and limiter not in (
            select limiter
            from {schema}.queue
            join newer on newer.name = queue.name
            where limiter is not null
        )
    group by limiter
    order by limiter
    on conflict (name) do update
    set
        declared = excluded.declared,
        rate_interval = excluded.rate_interval,
        rate_burst = excluded.rate_burst
    where (limiter.declared, limiter.rate_interval, limiter.rate_burst)
        is distinct from (excluded.declared, excluded.rate_interval, excluded.rate_burst)
    returning name
)
insert into {schema}.worker (id, version, queues, session_pids, session_starts)
select
    %(id)s::uuid,
    %(version)s::text,
    %(queue_name)s::text[],
    coalesce(session.pids, array[]::integer[]),
    coalesce(session.starts, array[]::timestamptz[])
from session
on conflict (id) do update
set
    latest_heartbeat_at = now(),
    ended_at = null,
    session_pids = excluded.session_pids,
    session_starts = excluded.session_starts
returning
    array(
        select name from declared where keys_changed_at is not null
        union
        select name
        from {schema}.queue
        where name = any(%(queue_name)s::text[]) and keys_changed_at is not null
    ) as keys_changed
