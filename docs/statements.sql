-- Every statement that m25 sends for its jobs, whole, for the schema m25. Those that change the
-- schema are in schema.sql.
-- Generated from src/m25/_store/sql and the table of columns: do not edit it, run
-- `python tools/statements.py`. A test holds it to them.

-- announce
--
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
    from m25.worker
    where id <> %(id)s::uuid
        and started_at > coalesce(
            (select started_at from m25.worker where id = %(id)s::uuid), now()
        )
        and ended_at is null
        and latest_heartbeat_at > now() - %(silence)s::interval
),
declared as (
    insert into m25.queue (
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
    where name not in (select name from newer)
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
            then now()
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
    insert into m25.limiter (name, declared, rate_interval, rate_burst)
    select limiter, min(limit_size), max(rate_interval), min(rate_burst)
    from unnest(
        %(limiter)s::text[],
        %(limit_size)s::integer[],
        %(rate_interval)s::float8[],
        %(rate_burst)s::integer[]
    ) as l (limiter, limit_size, rate_interval, rate_burst)
    where limiter is not null

        and limiter not in (
            select limiter
            from m25.queue
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
insert into m25.worker (id, version, queues, session_pids, session_starts)
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
        from m25.queue
        where name = any(%(queue_name)s::text[]) and keys_changed_at is not null
    ) as keys_changed;

-- answer_stack
--
-- Answer where the handler of a claimed job waits, if somebody has asked and has no answer yet.
-- Safe under concurrency: as a heartbeat is. What a notification made one believe is checked here.
with wanted as (
    select * from unnest(%(id)s::uuid[], %(claim_token)s::uuid[]) as w (id, claim_token)
),
held as materialized (
    select job.id
    from m25.job
    join wanted
        on wanted.id = job.id
        and wanted.claim_token = job.claim_token
    where job.id = any(%(id)s::uuid[])
        and job.status in ('reserved', 'executing')
    order by job.id
    for no key update of job skip locked
)
update m25.job
set stack = %(stack)s::text
where id = any(array(select id from held))
    and stack_asked_at is not null
    and stack is null
returning id::text;

-- attempts
--
-- Read all attempts of a chain, in order, by the id of any of them. Reads only.
with named as materialized (
    select coalesce(original_attempt_id, id) as first
    from m25.job
    where id = %(id)s::uuid
),
chain as materialized (
    select first as id
    from named
    union all
    select id
    from m25.job
    where original_attempt_id = (select first from named)
)
select
    id::text,
    queue_name,
    extract(epoch from created_at)::text as created_at,
    extract(epoch from scheduled_at)::text as scheduled_at,
    input::text,
    extract(epoch from reserved_at)::text as reserved_at,
    extract(epoch from started_at)::text as started_at,
    extract(epoch from cancelled_at)::text as cancelled_at,
    extract(epoch from finished_at)::text as finished_at,
    extract(epoch from timeout)::text as timeout,
    status,
    output::text,
    extract(epoch from deadline)::text as deadline,
    extract(epoch from latest_heartbeat_at)::text as latest_heartbeat_at,
    failure_reason,
    error_data::text,
    attempt,
    max_attempts,
    original_attempt_id::text,
    previous_attempt_id::text,
    extract(epoch from retry_delay)::text as retry_delay,
    unique_key,
    priority,
    losses,
    crash_type,
    crash_message,
    crash_traceback,
    meta::text,
    extract(epoch from expires_at)::text as expires_at,
    own_retry,
    extract(epoch from cancel_requested_at)::text as cancel_requested_at,
    cancelled_by,
    cancel_reason,
    setup_failures,
    progress::text,
    waiter,
    parent_id::text,
    has_children,
    has_begun,
    follows::text,
    extract(epoch from unknown_since)::text as unknown_since,
    session_losses,
    lane,
    order_key,
    extract(epoch from was_due_at)::text as was_due_at
from m25.job
where id = any(array(select id from chain))
order by attempt;

-- backend
--
-- Which process of the server answers: the one that was connected to, unless a pooler is in between. And
-- what its session makes of text and of arrays, what the server says that it is, whether Citus is there,
-- and which setting of the session is such as m25's statements are not written for: see `session`.
select
    pg_catalog.pg_backend_pid(),
    pg_catalog.current_setting('client_encoding'),
    pg_catalog.current_setting('array_nulls'),
    pg_catalog.version(),
    pg_catalog.to_regclass('pg_catalog.pg_dist_partition') is not null,
    case
        when pg_catalog.current_setting('default_transaction_isolation')
            operator(pg_catalog.<>) 'read committed'
            then 'default_transaction_isolation'
        when pg_catalog.current_setting('search_path') operator(pg_catalog.~) ',\s*"?pg_catalog'
            then 'search_path'
    end;

-- cancel
--
-- Cancel a job if it is pending. Safe under concurrency: the update's own condition is checked again
-- on the row as it is once locked, so a job that was claimed meanwhile is left alone and no row comes
-- back. It says "pending" without naming the status, so that the row is found by its id, and never by
-- a walk over all that is pending on its queue. Whoever waits for the job is notified. A job that has
-- started others is left alone, unless the caller cancels these in the same transaction.
with bounded as materialized (
    select case
        when %(lock_wait)s::text is not null
        then set_config('lock_timeout', %(lock_wait)s::text, true)
    end as lock_timeout
)
update m25.job
set cancelled_at = now(), cancelled_by = %(by)s::text, cancel_reason = %(reason)s::text
from bounded
where id = %(id)s::uuid
    and queue_name = %(queue_name)s::text
    and reserved_at is null
    and cancelled_at is null

    and (has_children is not true or %(with_children)s::boolean)
returning
    id::text,
    queue_name,
    extract(epoch from created_at)::text as created_at,
    extract(epoch from scheduled_at)::text as scheduled_at,
    input::text,
    extract(epoch from reserved_at)::text as reserved_at,
    extract(epoch from started_at)::text as started_at,
    extract(epoch from cancelled_at)::text as cancelled_at,
    extract(epoch from finished_at)::text as finished_at,
    extract(epoch from timeout)::text as timeout,
    status,
    output::text,
    extract(epoch from deadline)::text as deadline,
    extract(epoch from latest_heartbeat_at)::text as latest_heartbeat_at,
    failure_reason,
    error_data::text,
    attempt,
    max_attempts,
    original_attempt_id::text,
    previous_attempt_id::text,
    extract(epoch from retry_delay)::text as retry_delay,
    unique_key,
    priority,
    losses,
    crash_type,
    crash_message,
    crash_traceback,
    meta::text,
    extract(epoch from expires_at)::text as expires_at,
    own_retry,
    extract(epoch from cancel_requested_at)::text as cancel_requested_at,
    cancelled_by,
    cancel_reason,
    setup_failures,
    progress::text,
    waiter,
    parent_id::text,
    has_children,
    has_begun,
    follows::text,
    extract(epoch from unknown_since)::text as unknown_since,
    session_losses,
    lane,
    order_key,
    extract(epoch from was_due_at)::text as was_due_at,
    case
        when %(notifies)s::boolean
            and waiter ~ '^m25_[0-9a-z_]{1,59}$'
        then pg_notify(waiter, coalesce(original_attempt_id, id)::text)::text
    end as notified;

-- cancel_descendants
--
-- Cancel what jobs have started, and what that has started, down to the last: the jobs of `id` and
-- all below them, and all below those of `parent_id`. Ids are those of first attempts. What is pending
-- is cancelled at once; what is claimed is asked for, and its owner ends it.
-- It is to be repeated until no row comes back. Each time, whatever was inserted before its parent was
-- cancelled, or asked for, is seen by the next statement at the latest: a parent like that starts
-- nothing more (start_children.sql), and is not tried again. A single statement would miss a child,
-- or the next attempt of one, that is committed while it runs.
-- It goes down through rows of every status, so that a tree that was left half done is done by whoever
-- repeats it, and by the end of the job at its top at the latest.
-- Where an attempt cancels what it has started, it does so under its claim: `holder`, whose row is locked
-- meanwhile. So who has lost its job cancels nothing of what the next attempt has found again.
-- Safe under concurrency: nothing is waited for, so two of these cannot deadlock, nor can this and
-- anything else. A row that somebody has locked comes back as not done; one that has ended meanwhile
-- does, too, and the next time it is gone. What is done already is not written again.
with recursive holder as materialized (
    select id
    from m25.job
    where id = %(holder_id)s::uuid
        and claim_token = %(holder_token)s::uuid
        and status = 'executing'
    for no key update skip locked
),
given (id) as (
    select id
    from unnest(%(id)s::uuid[]) as id
    where %(holder_id)s::uuid is null or exists (select from holder)
),
tree (job_id) as (
    (
        select unnest(%(parent_id)s::uuid[])
        union all
        select id from given
    )
    union
    select child.job_id
    from tree
    cross join lateral (
        select coalesce(original_attempt_id, id) as job_id
        from m25.job
        where parent_id = tree.job_id
            and has_children
        -- Each is looked up by the index, whatever the planner believes about their number.
        offset 0
    ) as child
),
wanted as materialized (
    select child.id
    from tree
    cross join lateral (
        select id
        from m25.job
        where parent_id = tree.job_id and finished_at is null
        and cancelled_at is null
        and cancel_requested_at is null
        and (reserved_at is null or claim_token is not null)
        offset 0
    ) as child
    union
    select attempt.id
    from given
    cross join lateral (
        select id
        from m25.job
        where id = given.id and finished_at is null
        and cancelled_at is null
        and cancel_requested_at is null
        and (reserved_at is null or claim_token is not null)
        union all
        select id
        from m25.job
        where original_attempt_id = given.id and finished_at is null
        and cancelled_at is null
        and cancel_requested_at is null
        and (reserved_at is null or claim_token is not null)
        offset 0
    ) as attempt
),
held as materialized (
    select id, reserved_at is null as is_pending
    from m25.job
    where id = any(array(select id from wanted)) and finished_at is null
    and cancelled_at is null
    and cancel_requested_at is null
    and (reserved_at is null or claim_token is not null)
    for no key update skip locked
),
cancelled as (
    update m25.job
    set cancelled_at = now(), cancelled_by = %(by)s::text, cancel_reason = %(reason)s::text
    where id = any(array(select id from held where is_pending))
    returning
        id, queue_name, attempt, max_attempts, losses, original_attempt_id, waiter
),
asked as (
    update m25.job
    set cancel_requested_at = now(), cancelled_by = %(by)s::text, cancel_reason = %(reason)s::text
    where id = any(array(select id from held where not is_pending))
    returning id, queue_name, attempt, max_attempts, losses
)
select
    id::text, queue_name, attempt, max_attempts, losses, true as is_cancelled,
    case
        when %(notifies)s::boolean
            and waiter ~ '^m25_[0-9a-z_]{1,59}$'
        then pg_notify(waiter, coalesce(original_attempt_id, id)::text)::text
    end as notified
from cancelled
union all
select
    id::text, queue_name, attempt, max_attempts, losses, false,
    case
        when %(notifies)s::boolean
        then pg_notify(
            (select channel from m25.queue where queue.name = asked.queue_name), id::text
        )::text
    end
from asked
union all
select id::text, null, null, null, null, null, null
from wanted
where id not in (select id from held)
union all
-- Somebody has it locked, or has ended it meanwhile.
select id::text, null, null, null, null, null, null
from m25.job
where id = %(holder_id)s::uuid
    and claim_token = %(holder_token)s::uuid
    and status = 'executing'
    and not exists (select from holder);

-- change
--
-- Change a job while it is pending: when it is due, or its priority. One that is held up waits for its new time,
-- and then for its key, if it must. Safe under concurrency: the update's
-- own condition is checked again on the row as it is once locked, so a job that was claimed meanwhile is
-- left alone and no row comes back. Its queue's workers are notified: it may be due now.
with bounded as materialized (
    select case
        when %(lock_wait)s::text is not null
        then set_config('lock_timeout', %(lock_wait)s::text, true)
    end as lock_timeout
)
update m25.job
set
    scheduled_at = case
        when %(reschedule)s::boolean
        then %(scheduled_at)s::timestamptz
        else scheduled_at
    end,

    (limit_key, was_due_at) = row(
        case when not %(reschedule)s::boolean then limit_key end,
        case when not %(reschedule)s::boolean then was_due_at end
    ),
    -- Newer workers are waited for from the new time on.
    unknown_since = case when not %(reschedule)s::boolean then unknown_since end,
    priority = coalesce(%(priority)s::smallint, priority)
from bounded
where id = %(id)s::uuid
    and queue_name = %(queue_name)s::text
    and reserved_at is null
    and cancelled_at is null
returning
    id::text,
    queue_name,
    extract(epoch from created_at)::text as created_at,
    extract(epoch from scheduled_at)::text as scheduled_at,
    input::text,
    extract(epoch from reserved_at)::text as reserved_at,
    extract(epoch from started_at)::text as started_at,
    extract(epoch from cancelled_at)::text as cancelled_at,
    extract(epoch from finished_at)::text as finished_at,
    extract(epoch from timeout)::text as timeout,
    status,
    output::text,
    extract(epoch from deadline)::text as deadline,
    extract(epoch from latest_heartbeat_at)::text as latest_heartbeat_at,
    failure_reason,
    error_data::text,
    attempt,
    max_attempts,
    original_attempt_id::text,
    previous_attempt_id::text,
    extract(epoch from retry_delay)::text as retry_delay,
    unique_key,
    priority,
    losses,
    crash_type,
    crash_message,
    crash_traceback,
    meta::text,
    extract(epoch from expires_at)::text as expires_at,
    own_retry,
    extract(epoch from cancel_requested_at)::text as cancel_requested_at,
    cancelled_by,
    cancel_reason,
    setup_failures,
    progress::text,
    waiter,
    parent_id::text,
    has_children,
    has_begun,
    follows::text,
    extract(epoch from unknown_since)::text as unknown_since,
    session_losses,
    lane,
    order_key,
    extract(epoch from was_due_at)::text as was_due_at,
    case when %(notifies)s::boolean then pg_notify(%(channel)s::text, '')::text end as notified;

-- claim
--
-- Claim up to `limit` due jobs of a queue: reserve them, and where `start` is true begin executing in
-- the same statement.
-- Safe under concurrency: `skip locked` gives a row to one claimer, and the row is locked and
-- re-checked before it is written; under READ COMMITTED, which the pool sets. The lock is one that
-- lets foreign keys to the row be inserted meanwhile, here and in every other statement.
-- Priorities are visited one by one (a loose index scan), so jobs scheduled for later in one priority
-- are not walked over to reach work in the next.
-- A pause that is committed before this begins is seen by it.
with recursive level (priority) as (
    (
        select priority from m25.job
        where queue_name = %(queue_name)s::text and status = 'pending'
        order by priority limit 1
    )
    union all
    select (
        select job.priority from m25.job
        where queue_name = %(queue_name)s::text and status = 'pending' and job.priority > level.priority
        order by job.priority limit 1
    )
    from level
    where level.priority is not null
),
due as materialized (
    select candidate.id
    from level
    cross join lateral (
        select id from m25.job
        where queue_name = %(queue_name)s::text
            and status = 'pending'
            and job.priority = level.priority
            and run_at <= now()
            and (
                follows is null
                or (
                    (
                        select true
                        from m25.job as first
                        where first.id = job.follows
                            and first.finished_at is null
                            and first.cancelled_at is null
                        limit 1
                    ) is null
                    and (
                        select true
                        from m25.job as next
                        where next.original_attempt_id = job.follows
                            and next.finished_at is null
                            and next.cancelled_at is null
                        limit 1
                    ) is null
                )
            )
        order by run_at, id
        limit %(limit)s::bigint
        for no key update skip locked
    ) as candidate
    where level.priority is not null
        and (
            select paused_at from m25.queue where name = %(queue_name)s::text
        ) is null
    limit %(limit)s::bigint
),
claimed as (
    update m25.job
    set
        reserved_at = now(),
        claim_token = %(claim_token)s::uuid,
        started_at = case when %(start)s::boolean then now() end,
        deadline = case
            when %(start)s::boolean
            then now() + make_interval(
                secs => greatest(least(extract(epoch from timeout), 31557600000), 0)::float8
            )
        end,
        lease_expires_at = now() + %(lease)s::interval,
        has_begun = case when has_begun is not null then true end
    where id = any(array(select id from due))
    returning
        id, input, timeout, attempt, max_attempts, retry_delay, priority, run_at,
        case
            when num_nonnulls(
                    scheduled_at, original_attempt_id, previous_attempt_id, unique_key, meta,
                    expires_at, own_retry, setup_failures, progress, parent_id, has_children,
                    has_begun, unknown_since, session_losses
                ) > 0
                or losses <> 0
            then array[
                extract(epoch from created_at)::text,
                extract(epoch from scheduled_at)::text,
                original_attempt_id::text,
                previous_attempt_id::text,
                unique_key::text,
                losses::text,
                meta::text,
                extract(epoch from expires_at)::text,
                own_retry::text,
                setup_failures::text,
                progress::text,
                parent_id::text,
                has_children::text,
                has_begun::text,
                extract(epoch from unknown_since)::text,
                session_losses::text
            ]
        end as rest
)
select
    id::text,
    input::text,
    extract(epoch from timeout)::text as timeout,
    attempt,
    max_attempts,
    extract(epoch from retry_delay)::text as retry_delay,
    priority,
    extract(epoch from run_at)::text as run_at,
    (select extract(epoch from now())::text) as claimed_at,
    rest
from claimed
order by claimed.priority, claimed.run_at, claimed.id;

-- claim_after
--
-- The same as claim.sql, starting where the latest claims ended: at a position for each of some
-- priorities. Where the jobs behind these are too few, it goes on in the priorities that follow the
-- last of them, as claim.sql does.
-- While a transaction is held open anywhere, the entries of all that was claimed since stay in the
-- index, and a claim from the start walks over every one of them. What lies before the positions (a
-- row that was committed late, released, or is of another priority) is not seen by this: claims from
-- the start come often enough.
-- Safe under concurrency for the same reasons.
with recursive position as (
    select *
    from unnest(
        %(priority)s::smallint[], %(run_at)s::float8[], %(id)s::uuid[]
    ) as p (priority, seconds, id)
),
level (priority) as (
    (
        select priority from m25.job
        where queue_name = %(queue_name)s::text
            and status = 'pending'
            and priority > (select max(priority) from position)
        order by priority limit 1
    )
    union all
    select (
        select job.priority from m25.job
        where queue_name = %(queue_name)s::text and status = 'pending' and job.priority > level.priority
        order by job.priority limit 1
    )
    from level
    where level.priority is not null
),
due as materialized (
    select candidate.id
    from (
        select behind.id
        from position
        cross join lateral (
            select job.id from m25.job
            where queue_name = %(queue_name)s::text
                and status = 'pending'
                and job.priority = position.priority
                and (run_at, job.id) > (
                    timestamptz 'epoch' + make_interval(secs => position.seconds), position.id
                )
                and run_at <= now()
                and (
                    follows is null
                    or (
                        (
                            select true
                            from m25.job as first
                            where first.id = job.follows
                                and first.finished_at is null
                                and first.cancelled_at is null
                            limit 1
                        ) is null
                        and (
                            select true
                            from m25.job as next
                            where next.original_attempt_id = job.follows
                                and next.finished_at is null
                                and next.cancelled_at is null
                            limit 1
                        ) is null
                    )
                )
            order by run_at, job.id
            limit %(limit)s::bigint
            for no key update skip locked
        ) as behind
        union all
        select following.id
        from level
        cross join lateral (
            select job.id from m25.job
            where queue_name = %(queue_name)s::text
                and status = 'pending'
                and job.priority = level.priority
                and run_at <= now()
                and (
                    follows is null
                    or (
                        (
                            select true
                            from m25.job as first
                            where first.id = job.follows
                                and first.finished_at is null
                                and first.cancelled_at is null
                            limit 1
                        ) is null
                        and (
                            select true
                            from m25.job as next
                            where next.original_attempt_id = job.follows
                                and next.finished_at is null
                                and next.cancelled_at is null
                            limit 1
                        ) is null
                    )
                )
            order by run_at, job.id
            limit %(limit)s::bigint
            for no key update skip locked
        ) as following
        where level.priority is not null
    ) as candidate
    where (
        select paused_at from m25.queue where name = %(queue_name)s::text
    ) is null
    limit %(limit)s::bigint
),
claimed as (
    update m25.job
    set
        reserved_at = now(),
        claim_token = %(claim_token)s::uuid,
        started_at = case when %(start)s::boolean then now() end,
        deadline = case
            when %(start)s::boolean
            then now() + make_interval(
                secs => greatest(least(extract(epoch from timeout), 31557600000), 0)::float8
            )
        end,
        lease_expires_at = now() + %(lease)s::interval,
        has_begun = case when has_begun is not null then true end
    where id = any(array(select id from due))
    returning
        id, input, timeout, attempt, max_attempts, retry_delay, priority, run_at,
        case
            when num_nonnulls(
                    scheduled_at, original_attempt_id, previous_attempt_id, unique_key, meta,
                    expires_at, own_retry, setup_failures, progress, parent_id, has_children,
                    has_begun, unknown_since, session_losses
                ) > 0
                or losses <> 0
            then array[
                extract(epoch from created_at)::text,
                extract(epoch from scheduled_at)::text,
                original_attempt_id::text,
                previous_attempt_id::text,
                unique_key::text,
                losses::text,
                meta::text,
                extract(epoch from expires_at)::text,
                own_retry::text,
                setup_failures::text,
                progress::text,
                parent_id::text,
                has_children::text,
                has_begun::text,
                extract(epoch from unknown_since)::text,
                session_losses::text
            ]
        end as rest
)
select
    id::text,
    input::text,
    extract(epoch from timeout)::text as timeout,
    attempt,
    max_attempts,
    extract(epoch from retry_delay)::text as retry_delay,
    priority,
    extract(epoch from run_at)::text as run_at,
    (select extract(epoch from now())::text) as claimed_at,
    rest
from claimed
order by claimed.priority, claimed.run_at, claimed.id;

-- claim_by_key
--
-- Claim as claim.sql does, but of each key no more jobs than may run under the queue's limit, which is
-- locked by this transaction. A key is what the limit's path leads to in a job's input, up to 200
-- characters of it; nothing is '', a key like others.
-- A job that is due while all that may run with its key do is held up: its `scheduled_at` is put into
-- the year 9000, and another index has it by its key. So each such job is walked over once, however long
-- it waits, and whatever waits with it. It keeps its place: `was_due_at` is its `run_at`.
-- Jobs come from both, by priority and age: of the next that are due, `walk` are looked at; of those
-- that are held up, the first of each key from `from_key` on, of some hundreds of keys. No more keys are
-- full than jobs run, so few of these are looked at in vain. There always is a row: it says whether
-- there may be more to claim now, and where among the keys the next claim goes on.
-- Safe under concurrency: as claim_limited.sql is. Rows that others have locked are left out.
with recursive level (priority) as (
    (
        select priority from m25.job
        where queue_name = %(queue_name)s::text and status = 'pending'
        order by priority limit 1
    )
    union all
    select (
        select job.priority from m25.job
        where queue_name = %(queue_name)s::text and status = 'pending' and job.priority > level.priority
        order by job.priority limit 1
    )
    from level
    where level.priority is not null
),
size as materialized (
    select coalesce(set_to, declared, 2147483647) as size
    from m25.limiter
    where name = %(limiter)s::text
),
live as materialized (
    select
        job.id,
        left(coalesce(job.input #>> queue.limit_path, ''), 200) as key,
        coalesce(job.place, job.id) as place
    from m25.queue
    join m25.job on job.queue_name = queue.name
    where queue.limiter = %(limiter)s::text
        and job.queue_name = any(
            array(select name from m25.queue where limiter = %(limiter)s::text)
        )
        and job.reserved_at is not null
        and job.finished_at is null
        and job.cancelled_at is null
),
outside as materialized (
    select id, key
    from m25.limit_holder
    where limiter = %(limiter)s::text
),
awaited as materialized (
    select awaited_key as key
    from m25.limiter
    where name = %(limiter)s::text
        and awaited_since <= now() - interval '1 second'
        and asked_at > now() - interval '3 seconds'
        and not (jobs_next and coalesce(turn_at <= now(), false))
),
taken as materialized (
    select key, count(distinct place) as number
    from (
        select key, place from live
        union all
        select key, id from outside
        union all
        select key, uuid '00000000-0000-0000-0000-000000000000' from awaited
    ) as each
    group by key
),
rate as materialized (
    select
        rate_interval as seconds,
        now() as at,
        greatest(
            coalesce(next_start_at, '-infinity'),
            now() - make_interval(secs => rate_burst * rate_interval)
        ) as next_start_at
    from m25.limiter
    where name = %(limiter)s::text and rate_interval is not null
),
tokens as materialized (
    select
        case
            when next_start_at > at then 0
            else floor(extract(epoch from at - next_start_at)::float8 / seconds)::bigint + 1
        end as number
    from rate
),
path as materialized (
    select limit_path from m25.queue where name = %(queue_name)s::text
),
walked as materialized (
    select candidate.id, candidate.priority, candidate.at, candidate.key, candidate.is_held_up
    from level
    cross join lateral (
        select
            id,
            priority,
            run_at as at,
            left(coalesce(input #>> (select limit_path from path), ''), 200) as key,
            false as is_held_up
        from m25.job
        where queue_name = %(queue_name)s::text
            and status = 'pending'
            and job.priority = level.priority
            and run_at <= now()
            and (
                follows is null
                or (
                    (
                        select true
                        from m25.job as first
                        where first.id = job.follows
                            and first.finished_at is null
                            and first.cancelled_at is null
                        limit 1
                    ) is null
                    and (
                        select true
                        from m25.job as next
                        where next.original_attempt_id = job.follows
                            and next.finished_at is null
                            and next.cancelled_at is null
                        limit 1
                    ) is null
                )
            )
        order by run_at, id
        limit %(walk)s::bigint
        for no key update skip locked
    ) as candidate
    where level.priority is not null
        and (
            select paused_at from m25.queue where name = %(queue_name)s::text
        ) is null
    limit %(walk)s::bigint
),
held_up_key (key, number) as (
    (
        select limit_key, 1 from m25.job
        where queue_name = %(queue_name)s::text
            and was_due_at is not null
            and reserved_at is null
            and cancelled_at is null
            and limit_key >= %(from_key)s::text
        order by limit_key limit 1
    )
    union all
    select (
        select limit_key from m25.job
        where queue_name = %(queue_name)s::text
            and was_due_at is not null
            and reserved_at is null
            and cancelled_at is null
            and limit_key > held_up_key.key
        order by limit_key limit 1
    ), number + 1
    from held_up_key
    where key is not null and number < 500
),
held_up as materialized (
    select waiting.id, waiting.priority, waiting.at, waiting.key, waiting.is_held_up
    from held_up_key
    left join taken on taken.key = held_up_key.key
    cross join lateral (
        select id, priority, was_due_at as at, limit_key as key, true as is_held_up
        from m25.job
        where queue_name = %(queue_name)s::text
            and was_due_at is not null
            and reserved_at is null
            and cancelled_at is null
            and limit_key = held_up_key.key

            and left(coalesce(input #>> (select limit_path from path), ''), 200) = limit_key
            and scheduled_at > timestamptz '8000-01-01 00:00:00+00'
        order by priority, was_due_at, id
        limit least(
            %(limit)s::bigint,
            greatest((select size from size) - coalesce(taken.number, 0), 0)
        )
        for no key update skip locked
    ) as waiting
    where held_up_key.key is not null
        and (
            select paused_at from m25.queue where name = %(queue_name)s::text
        ) is null
),
ranked as materialized (
    select
        candidate.id,
        candidate.priority,
        candidate.at,
        candidate.key,
        candidate.is_held_up,
        row_number() over (
            partition by candidate.key order by candidate.priority, candidate.at, candidate.id
        ) <= (select size from size) - coalesce(taken.number, 0)
            as has_room
    from (
        select id, priority, at, key, is_held_up from walked
        union all
        select id, priority, at, key, is_held_up from held_up
    ) as candidate
    left join taken on taken.key = candidate.key
),
due as materialized (
    select id
    from ranked
    where has_room
    order by priority, at, id
    limit least(%(limit)s::bigint, (select number from tokens))
),
put_off as (
    update m25.job
    set
        limit_key = ranked.key,
        was_due_at = ranked.at,
        scheduled_at = timestamptz '9000-01-01 00:00:00+00'
    from ranked
    where job.id = any(array(select id from ranked where not (has_room or is_held_up)))
        -- By a newer worker's word there is no key any more.
        and (select limit_path from path) is not null
        and ranked.id = job.id
),
claimed as (
    update m25.job
    set
        reserved_at = now(),
        claim_token = %(claim_token)s::uuid,
        started_at = case when %(start)s::boolean then now() end,
        deadline = case
            when %(start)s::boolean
            then now() + make_interval(
                secs => greatest(least(extract(epoch from timeout), 31557600000), 0)::float8
            )
        end,
        lease_expires_at = now() + %(lease)s::interval,
        has_begun = case when has_begun is not null then true end,
        scheduled_at = case
            when was_due_at is null or scheduled_at < timestamptz '8000-01-01 00:00:00+00'
            then scheduled_at
            else nullif(was_due_at, created_at)
        end,
        limit_key = null,
        was_due_at = null
    where id = any(array(select id from due))
    returning
        id, input, timeout, attempt, max_attempts, retry_delay, priority, run_at,
        case
            when num_nonnulls(
                    scheduled_at, original_attempt_id, previous_attempt_id, unique_key, meta,
                    expires_at, own_retry, setup_failures, progress, parent_id, has_children,
                    has_begun, unknown_since, session_losses
                ) > 0
                or losses <> 0
            then array[
                extract(epoch from created_at)::text,
                extract(epoch from scheduled_at)::text,
                original_attempt_id::text,
                previous_attempt_id::text,
                unique_key::text,
                losses::text,
                meta::text,
                extract(epoch from expires_at)::text,
                own_retry::text,
                setup_failures::text,
                progress::text,
                parent_id::text,
                has_children::text,
                has_begun::text,
                extract(epoch from unknown_since)::text,
                session_losses::text
            ]
        end as rest
),
spent as (
    update m25.limiter
    set next_start_at = rate.next_start_at
        + make_interval(secs => least((select count(*) from due) * rate.seconds, 31557600000))
    from rate
    where limiter.name = %(limiter)s::text and (select count(*) from due) > 0
    returning limiter.name
),
left_jobs as materialized (
    select
        exists (select from held_up_key where key is not null)
        or exists (select from ranked where not has_room) as has_left
),
turn_taken as (
    update m25.limiter
    set turn_at = now() + interval '1 second'
    where name = %(limiter)s::text
        and turn_at is null
        and rate_interval is null
        and exists (select from outside)
        and (select has_left from left_jobs)
    returning name
)
select
    (
        select count(pg_notify(%(room_channel)s::text, %(limiter)s::text))
        from awaited
        cross join size
        join taken on taken.key = awaited.key
        where taken.number <= size.size and %(notifies)s::boolean
    ) as awaited_told,
    exists (select from held_up_key where key is not null)
        or exists (select from ranked where not has_room)
        or (select count(*) from due) >= (select number from tokens) as is_full,
    (
        (select count(*) from walked) = %(walk)s::bigint
        or (select count(*) from held_up_key where key is not null) = 500
    )
        and (select count(*) from due) < coalesce((select number from tokens), 9223372036854775807)
        as has_more,
    case
        when (select count(*) from held_up_key where key is not null) = 500
        then (select max(key) from held_up_key)
    end as last_key,
    (
        select
            greatest(
                extract(
                    epoch from rate.next_start_at
                        + make_interval(secs => least((select count(*) from due) * rate.seconds, 31557600000))
                        - rate.at
                ),
                0
            )::float8
        from rate
        where (select count(*) from due) >= (select number from tokens)
    ) as room_in,
    id::text,
    input::text,
    extract(epoch from timeout)::text as timeout,
    attempt,
    max_attempts,
    extract(epoch from retry_delay)::text as retry_delay,
    priority,
    extract(epoch from run_at)::text as run_at,
    (select extract(epoch from now())::text) as claimed_at,
    rest
from (select) as always
left join claimed on true
order by claimed.priority, claimed.run_at, claimed.id;

-- claim_by_rate
--
-- Claim as claim_limited.sql does, by a rate that has a clock for each key, or of which jobs have their
-- costs; the limiter is locked by this transaction. A key is what the rate's path leads to in a job's input,
-- up to 200 characters of it; nothing is '', a key like others, and without a path all jobs have it.
-- A job may begin once its key's clock has come to as many intervals as the job costs; the burst at most is
-- saved up, so one that costs more begins with all of that, and what is left to pay keeps the next waiting.
-- Of one key the order is strict: nothing overtakes a job because it costs less. Times are within what a
-- timestamp can hold: what is to be paid makes nobody wait for more than a thousand years.
-- A job that is due too early for its key is held up, as in claim_by_key.sql, in the line of its key. The line
-- says when the first job in it may begin, so a claim looks at those lines alone whose time has come, the
-- longest due first: neither how many jobs wait makes a claim longer, nor how many keys. A line may be looked at
-- too early, where another queue has the same rate, or something more urgent has come; then it is dated anew.
-- There always is a row: it says whether there may be more to claim now, and when.
-- Safe under concurrency: as claim_limited.sql is. Clocks and lines are written by those alone who have the
-- limiter locked. Jobs that others have locked are left out.
with recursive level (priority) as (
    (
        select priority from m25.job
        where queue_name = %(queue_name)s::text and status = 'pending'
        order by priority limit 1
    )
    union all
    select (
        select job.priority from m25.job
        where queue_name = %(queue_name)s::text and status = 'pending' and job.priority > level.priority
        order by job.priority limit 1
    )
    from level
    where level.priority is not null
),
size as materialized (
    select coalesce(set_to, declared, 2147483647) as size
    from m25.limiter
    where name = %(limiter)s::text
),
live as materialized (
    select
        job.id,
        left(coalesce(job.input #>> queue.limit_path, ''), 200) as key,
        coalesce(job.place, job.id) as place
    from m25.queue
    join m25.job on job.queue_name = queue.name
    where queue.limiter = %(limiter)s::text
        and job.queue_name = any(
            array(select name from m25.queue where limiter = %(limiter)s::text)
        )
        and job.reserved_at is not null
        and job.finished_at is null
        and job.cancelled_at is null
),
outside as materialized (
    select id, key
    from m25.limit_holder
    where limiter = %(limiter)s::text
),
awaited as materialized (
    select awaited_key as key
    from m25.limiter
    where name = %(limiter)s::text
        and awaited_since <= now() - interval '1 second'
        and asked_at > now() - interval '3 seconds'
        and not (jobs_next and coalesce(turn_at <= now(), false))
),
taken as materialized (
    select key, count(distinct place) as number
    from (
        select key, place from live
        union all
        select key, id from outside
        union all
        select key, uuid '00000000-0000-0000-0000-000000000000' from awaited
    ) as each
    group by key
),
rate as materialized (
    select rate_interval as seconds, rate_burst as burst
    from m25.limiter
    where name = %(limiter)s::text and rate_interval is not null
),
path as materialized (
    select rate_path, cost_path from m25.queue where name = %(queue_name)s::text
),
free as materialized (
    select
        least(
            %(limit)s::bigint,
            size.size - coalesce((select number from taken where key = ''), 0)
        ) as free
    from size
),
line as materialized (
    select key
    from m25.rate_line
    where queue_name = %(queue_name)s::text and look_at <= now()
    order by look_at, key
    limit %(limit)s::bigint
),
walked as materialized (
    select candidate.id, candidate.priority, candidate.at, candidate.key, candidate.cost
    from level
    cross join lateral (
        select
            id,
            priority,
            run_at as at,
            left(coalesce(input #>> (select rate_path from path), ''), 200) as key,
            case
                when jsonb_typeof(input #> (select cost_path from path)) = 'number'
                then ceil(
                    least(greatest((input #>> (select cost_path from path))::numeric, 1), 1000000)
                )::bigint
                else 1
            end as cost
        from m25.job
        where queue_name = %(queue_name)s::text
            and status = 'pending'
            and job.priority = level.priority
            and run_at <= now()
            and (
                follows is null
                or (
                    (
                        select true
                        from m25.job as first
                        where first.id = job.follows
                            and first.finished_at is null
                            and first.cancelled_at is null
                        limit 1
                    ) is null
                    and (
                        select true
                        from m25.job as next
                        where next.original_attempt_id = job.follows
                            and next.finished_at is null
                            and next.cancelled_at is null
                        limit 1
                    ) is null
                )
            )
        order by run_at, id
        limit (select number from walk)
        for no key update skip locked
    ) as candidate
    where level.priority is not null
        and (
            select paused_at from m25.queue where name = %(queue_name)s::text
        ) is null
    limit (select number from walk)
),
-- Without a key the jobs that are too early stay where they are, and one of them is enough.
walk as materialized (
    select
        least(
            %(walk)s::bigint,
            case when (select rate_path from path) is null then (select burst + 2 from rate) end
        ) as number
),
held_up as materialized (
    select waiting.id, waiting.priority, waiting.at, waiting.key, waiting.cost
    from line
    cross join lateral (
        select id, priority, was_due_at as at, limit_key as key, case
            when jsonb_typeof(input #> (select cost_path from path)) = 'number'
            then ceil(
                least(greatest((input #>> (select cost_path from path))::numeric, 1), 1000000)
            )::bigint
            else 1
        end as cost
        from m25.job
        where queue_name = %(queue_name)s::text
            and limit_key = line.key
            and was_due_at is not null
                and reserved_at is null
                and cancelled_at is null
                and scheduled_at > timestamptz '8000-01-01 00:00:00+00'

            and left(coalesce(input #>> (select rate_path from path), ''), 200) = line.key
        order by priority, was_due_at, id
        limit least(
            %(limit)s::bigint,
            (select burst + 1 from rate),
            2 * %(limit)s::bigint / (select count(*) from line) + 1
        )
        for no key update skip locked
    ) as waiting
    where (
        select paused_at from m25.queue where name = %(queue_name)s::text
    ) is null
),
clock as materialized (
    select
        found.key,
        greatest(
            coalesce(
                (
                    select next_start_at
                    from m25.rate_clock
                    where limiter = %(limiter)s::text and rate_clock.key = found.key
                ),
                '-infinity'
            ),
            now() - make_interval(secs => rate.burst * rate.seconds)
        ) as start_at
    from rate
    cross join (
        select key from walked
        union
        select key from line
    ) as found
),
placed as materialized (
    select
        candidate.id,
        candidate.priority,
        candidate.at,
        candidate.key,
        candidate.cost,
        candidate.is_held_up,
        candidate.is_in_order,
        clock.start_at + make_interval(
            secs => least(
                (candidate.before + least(candidate.cost, rate.burst + 1) - 1)::float8 * rate.seconds,
                31557600000
            )
        ) as start_at
    from (
        select
            id,
            priority,
            at,
            key,
            cost,
            is_held_up,
            -- Those of the line that are before it have been looked at.

            key = any(array(select key from line))
                or not exists (
                    select from m25.rate_line
                    where queue_name = %(queue_name)s::text and rate_line.key = one.key
                    offset 0
                ) as is_in_order,
            coalesce(
                sum(cost) over (
                    partition by key
                    order by priority, at, id
                    rows between unbounded preceding and 1 preceding
                ),
                0
            ) as before
        from (
            select id, priority, at, key, cost, false as is_held_up from walked
            union all
            select id, priority, at, key, cost, true as is_held_up from held_up
        ) as one
    ) as candidate
    join clock on clock.key = candidate.key
    cross join rate
),
ready as materialized (
    select id, priority, at, key, cost
    from placed
    where is_in_order
        and start_at <= now()
),
due as materialized (
    select id, key, cost
    from ready
    order by priority, at, id
    limit greatest((select free from free), 0)
),
put_off as (
    update m25.job
    set
        limit_key = placed.key,
        was_due_at = placed.at,
        scheduled_at = timestamptz '9000-01-01 00:00:00+00'
    from placed
    where job.id = any(array(select id from early))
        and placed.id = job.id
),
early as materialized (
    select id, key, start_at
    from placed
    where not is_held_up
        and not (is_in_order and start_at <= now())
        and (select rate_path from path) is not null
),
claimed as (
    update m25.job
    set
        reserved_at = now(),
        claim_token = %(claim_token)s::uuid,
        started_at = case when %(start)s::boolean then now() end,
        deadline = case
            when %(start)s::boolean
            then now() + make_interval(
                secs => greatest(least(extract(epoch from timeout), 31557600000), 0)::float8
            )
        end,
        lease_expires_at = now() + %(lease)s::interval,
        has_begun = case when has_begun is not null then true end,
        scheduled_at = case
            when was_due_at is null or scheduled_at < timestamptz '8000-01-01 00:00:00+00'
            then scheduled_at
            else nullif(was_due_at, created_at)
        end,
        limit_key = null,
        was_due_at = null
    where id = any(array(select id from due))
    returning
        id, input, timeout, attempt, max_attempts, retry_delay, priority, run_at,
        case
            when num_nonnulls(
                    scheduled_at, original_attempt_id, previous_attempt_id, unique_key, meta,
                    expires_at, own_retry, setup_failures, progress, parent_id, has_children,
                    has_begun, unknown_since, session_losses
                ) > 0
                or losses <> 0
            then array[
                extract(epoch from created_at)::text,
                extract(epoch from scheduled_at)::text,
                original_attempt_id::text,
                previous_attempt_id::text,
                unique_key::text,
                losses::text,
                meta::text,
                extract(epoch from expires_at)::text,
                own_retry::text,
                setup_failures::text,
                progress::text,
                parent_id::text,
                has_children::text,
                has_begun::text,
                extract(epoch from unknown_since)::text,
                session_losses::text
            ]
        end as rest
),
spent as materialized (
    select due.key, sum(due.cost)::float8 as cost
    from due
    group by due.key
),
paid as (
    insert into m25.rate_clock (limiter, key, next_start_at)
    select
        %(limiter)s::text,
        clock.key,

        clock.start_at + make_interval(secs => least(spent.cost * rate.seconds, 31557600000))
    from spent
    join clock on clock.key = spent.key
    cross join rate
    order by clock.key
    on conflict (limiter, key) do update
    set next_start_at = excluded.next_start_at
),
dropped as (
    delete from m25.rate_clock
    where limiter = %(limiter)s::text
        and key = any(array(
            select key
            from m25.rate_clock
            where limiter = %(limiter)s::text

                and next_start_at <= now() - (
                    select make_interval(secs => burst * seconds) from rate
                )
                and key <> all(array(select key from spent))
            order by next_start_at
            limit 2 * %(limit)s::bigint
        ))
),
-- When the first job in each line may begin that has been looked at, or has something new in it.
ahead as materialized (
    select key, min(look_at) as look_at
    from (
        select
            line.key,
            case
                -- Somebody else has what is there locked.
                when exists (select from held_up where held_up.key = line.key)
                then next.start_at
                else greatest(next.start_at, now() + interval '100 milliseconds')
            end as look_at
        from line
        cross join lateral (
            select
                clock.start_at + make_interval(
                    secs => least(
                        (
                            coalesce((select cost from spent where spent.key = line.key), 0)
                            + least(case
                                when jsonb_typeof(input #> (select cost_path from path)) = 'number'
                                then ceil(
                                    least(greatest((input #>> (select cost_path from path))::numeric, 1), 1000000)
                                )::bigint
                                else 1
                            end, rate.burst + 1) - 1
                        )::float8 * rate.seconds,
                        31557600000
                    )
                ) as start_at
            from m25.job
            cross join rate
            cross join clock
            where queue_name = %(queue_name)s::text
                and limit_key = line.key
                and was_due_at is not null
                    and reserved_at is null
                    and cancelled_at is null
                    and scheduled_at > timestamptz '8000-01-01 00:00:00+00'
                and left(coalesce(input #>> (select rate_path from path), ''), 200) = line.key
                and id <> all(array(select id from due))
                and clock.key = line.key
            order by priority, was_due_at, id
            limit 1
        ) as next
        union all
        select key, start_at from early
    ) as first
    group by key
),
dated as (
    insert into m25.rate_line (queue_name, key, look_at)
    select %(queue_name)s::text, key, look_at
    from ahead
    order by key
    on conflict (queue_name, key) do update
    set look_at = case
        when excluded.key = any(array(select key from line)) then excluded.look_at
        else least(rate_line.look_at, excluded.look_at)
    end
    returning look_at
),
ended as (
    delete from m25.rate_line
    where queue_name = %(queue_name)s::text

        and key = any(array(select key from line where key not in (select key from ahead)))
),
next_look as materialized (
    select
        least(
            (select min(look_at) from dated),
            (
                select look_at
                from m25.rate_line
                where queue_name = %(queue_name)s::text
                    and key <> all(array(select key from line))
                    and key <> all(array(select key from ahead))
                order by look_at
                limit 1
            ),
            (
                select min(start_at) from placed
                where start_at > now() and (select rate_path from path) is null
            )
        ) as at
),
answer as materialized (
    select
        (select count(*) from due) < (select free from free) as has_room,
        coalesce((select free from free), 0) < %(limit)s::bigint as has_limit,
        (select at from next_look) as at
)
select
    (
        select count(pg_notify(%(room_channel)s::text, %(limiter)s::text))
        from awaited
        cross join size
        join taken on taken.key = awaited.key
        where taken.number <= size.size and %(notifies)s::boolean
    ) as awaited_told,
    at is not null or (has_limit and not coalesce(has_room, false)) as is_full,
    coalesce(
        has_room
        and (
            at <= now()
            or (
                (select count(*) from walked) = (select number from walk)
                and (select rate_path from path) is not null
            )
        ),
        false
    ) as has_more,
    case
        when at is not null and (coalesce(has_room, false) or not has_limit)
        then greatest(extract(epoch from at - now()), 0)::float8
    end as room_in,
    id::text,
    input::text,
    extract(epoch from timeout)::text as timeout,
    attempt,
    max_attempts,
    extract(epoch from retry_delay)::text as retry_delay,
    priority,
    extract(epoch from run_at)::text as run_at,
    (select extract(epoch from now())::text) as claimed_at,
    rest
from answer
left join claimed on true
order by claimed.priority, claimed.run_at, claimed.id;

-- claim_fairly
--
-- Claim as claim_limited.sql does, but fairly between keys. The jobs of each key wait in a lane, by
-- priority and age; the key is what the queue's path leads to in a job's input, up to 200 characters of it.
-- From each lane come its first jobs: the sooner, the fewer jobs of its key run, and the fewer of them have
-- ended at this worker of late, which it says by `used`. A key with a weight of 3 may have three times as much.
-- Of keys that have had as much, the job that is older comes first, so that none waits for ever.
-- What is dear about a claim are the lanes that it looks at, `lanes` of them from `from_lane` on: never how
-- many jobs wait in them.
-- A job that was inserted without a lane, as plain SQL does it, is released, or has been scheduled for later,
-- is given one: of all that is pending, `walk` jobs are looked at for that, from a position on, in
-- turn. There always is a row: it says where the next claim goes on, and whether it would find more.
-- Safe under concurrency: as claim_limited.sql is. Rows that others have locked are left out; what was
-- claimed or cancelled since this began is no more pending once it is locked, and left out, too.
with recursive size as materialized (
    select coalesce(set_to, declared, 2147483647) as size
    from m25.limiter
    where name = %(limiter)s::text
),
live as materialized (
    select
        job.id,
        left(coalesce(job.input #>> queue.limit_path, ''), 200) as key,
        coalesce(job.place, job.id) as place
    from m25.queue
    join m25.job on job.queue_name = queue.name
    where queue.limiter = %(limiter)s::text
        and job.queue_name = any(
            array(select name from m25.queue where limiter = %(limiter)s::text)
        )
        and job.reserved_at is not null
        and job.finished_at is null
        and job.cancelled_at is null
),
outside as materialized (
    select id, key
    from m25.limit_holder
    where limiter = %(limiter)s::text
),
awaited as materialized (
    select awaited_key as key
    from m25.limiter
    where name = %(limiter)s::text
        and awaited_since <= now() - interval '1 second'
        and asked_at > now() - interval '3 seconds'
        and not (jobs_next and coalesce(turn_at <= now(), false))
),
taken as materialized (
    select key, count(distinct place) as number
    from (
        select key, place from live
        union all
        select key, id from outside
        union all
        select key, uuid '00000000-0000-0000-0000-000000000000' from awaited
    ) as each
    group by key
),
rate as materialized (
    select
        rate_interval as seconds,
        now() as at,
        greatest(
            coalesce(next_start_at, '-infinity'),
            now() - make_interval(secs => rate_burst * rate_interval)
        ) as next_start_at
    from m25.limiter
    where name = %(limiter)s::text and rate_interval is not null
),
tokens as materialized (
    select
        case
            when next_start_at > at then 0
            else floor(extract(epoch from at - next_start_at)::float8 / seconds)::bigint + 1
        end as number
    from rate
),
free as materialized (
    select
        least(
            %(limit)s::bigint,
            case
                when size.size < 2147483647
                then size.size - coalesce((select number from taken where key = ''), 0)
            end,
            (select number from tokens)
        ) as free
    from size
),
path as materialized (
    select lane_path from m25.queue where name = %(queue_name)s::text
),
walked as materialized (
    select id, priority, run_at, lane is null and run_at <= now() as is_new
    from m25.job
    where queue_name = %(queue_name)s::text
        and status = 'pending'
        and (priority, run_at, id)
            > (%(priority)s::smallint, %(run_at)s::timestamptz, %(id)s::uuid)
    order by priority, run_at, id
    limit %(walk)s::bigint
),
last as materialized (
    select priority, run_at, id
    from walked
    order by priority, run_at, id
    offset %(walk)s::bigint - 1
    limit 1
),
new as materialized (
    select id
    from m25.job
    where id = any(array(select id from walked where is_new))
        and status = 'pending'
    order by id
    for no key update skip locked
),
laned as (
    update m25.job
    set lane = left(coalesce(input #>> (select lane_path from path), ''), 200)
    where id = any(array(select id from new))
    returning id
),
lane (lane, number) as (
    (
        select lane, 1 from m25.job
        where queue_name = %(queue_name)s::text
            and lane is not null
            and status = 'pending'
            and lane >= %(from_lane)s::text
        order by lane limit 1
    )
    union all
    select (
        select job.lane from m25.job
        where queue_name = %(queue_name)s::text
            and job.lane is not null
            and status = 'pending'
            and job.lane > lane.lane
        order by job.lane limit 1
    ), number + 1
    from lane
    where lane.lane is not null and number <= %(lanes)s::bigint
),
looked_at as materialized (
    select lane from lane where lane is not null and number <= %(lanes)s::bigint
),
running as materialized (
    select lane, count(*) as number
    from m25.job
    where queue_name = %(queue_name)s::text
        and reserved_at is not null
        and finished_at is null
        and cancelled_at is null
    group by lane
),
used as materialized (
    select * from unnest(%(key)s::text[], %(used)s::float8[]) as u (key, number)
),
weight as materialized (
    select * from unnest(%(weighted)s::text[], %(weight)s::float8[]) as w (key, weight)
),
part as materialized (
    select least(
        %(limit)s::bigint, 2 * %(limit)s::bigint / greatest(count(*), 1) + 1
    ) as each
    from looked_at
),
candidate as materialized (
    select
        waiting.id,
        waiting.run_at,
        looked_at.lane,
        row_number() over (
            partition by looked_at.lane order by waiting.priority, waiting.run_at, waiting.id
        ) as rank
    from looked_at
    cross join lateral (
        select id, priority, run_at
        from m25.job
        where queue_name = %(queue_name)s::text
            and job.lane = looked_at.lane
            and status = 'pending'
            and run_at <= now()
            and (
                follows is null
                or (
                    (
                        select true
                        from m25.job as first
                        where first.id = job.follows
                            and first.finished_at is null
                            and first.cancelled_at is null
                        limit 1
                    ) is null
                    and (
                        select true
                        from m25.job as next
                        where next.original_attempt_id = job.follows
                            and next.finished_at is null
                            and next.cancelled_at is null
                        limit 1
                    ) is null
                )
            )
        order by priority, run_at, id
        limit (select each + 1 from part)
    ) as waiting
    where (
        select paused_at from m25.queue where name = %(queue_name)s::text
    ) is null
),
chosen as materialized (
    select candidate.id
    from candidate
    left join running on running.lane = candidate.lane
    left join used on used.key = candidate.lane
    left join weight on weight.key = candidate.lane
    where candidate.rank <= (select each from part)
    order by
        (
            candidate.rank
            + coalesce(running.number, 0)
            + coalesce(used.number, 0)
        ) / coalesce(weight.weight, 1),
        candidate.run_at,
        candidate.id
    limit greatest((select free from free), 0)
),
due as materialized (
    select id
    from m25.job
    where id = any(array(select id from chosen))
        and status = 'pending'
    order by id
    for no key update skip locked
),
claimed as (
    update m25.job
    set
        reserved_at = now(),
        claim_token = %(claim_token)s::uuid,
        started_at = case when %(start)s::boolean then now() end,
        deadline = case
            when %(start)s::boolean
            then now() + make_interval(
                secs => greatest(least(extract(epoch from timeout), 31557600000), 0)::float8
            )
        end,
        lease_expires_at = now() + %(lease)s::interval,
        has_begun = case when has_begun is not null then true end
    where id = any(array(select id from due))
    returning
        id, input, timeout, attempt, max_attempts, retry_delay, priority, run_at,
        case
            when num_nonnulls(
                    scheduled_at, original_attempt_id, previous_attempt_id, unique_key, meta,
                    expires_at, own_retry, setup_failures, progress, parent_id, has_children,
                    has_begun, unknown_since, session_losses
                ) > 0
                or losses <> 0
            then array[
                extract(epoch from created_at)::text,
                extract(epoch from scheduled_at)::text,
                original_attempt_id::text,
                previous_attempt_id::text,
                unique_key::text,
                losses::text,
                meta::text,
                extract(epoch from expires_at)::text,
                own_retry::text,
                setup_failures::text,
                progress::text,
                parent_id::text,
                has_children::text,
                has_begun::text,
                extract(epoch from unknown_since)::text,
                session_losses::text
            ]
        end as rest
),
spent as (
    update m25.limiter
    set next_start_at = rate.next_start_at
        + make_interval(secs => least((select count(*) from due) * rate.seconds, 31557600000))
    from rate
    where limiter.name = %(limiter)s::text and (select count(*) from due) > 0
    returning limiter.name
),
left_jobs as materialized (
    select
        (select count(*) from due) >= (select free from free)
        and (select free from free) < %(limit)s::bigint as has_left
),
turn_taken as (
    update m25.limiter
    set turn_at = now() + interval '1 second'
    where name = %(limiter)s::text
        and turn_at is null
        and rate_interval is null
        and exists (select from outside)
        and (select has_left from left_jobs)
    returning name
)
select
    (
        select count(pg_notify(%(room_channel)s::text, %(limiter)s::text))
        from awaited
        cross join size
        join taken on taken.key = awaited.key
        where taken.number <= size.size and %(notifies)s::boolean
    ) as awaited_told,
    (select has_left from left_jobs) as is_full,
    exists (select from laned)
        or (
            (select count(*) from chosen) < %(limit)s::bigint
            and exists (select from candidate where rank > (select each from part))
        ) as has_more,
    (
        select
            greatest(
                extract(
                    epoch from rate.next_start_at
                        + make_interval(secs => least((select count(*) from due) * rate.seconds, 31557600000))
                        - rate.at
                ),
                0
            )::float8
        from rate
        where (select count(*) from due) >= (select number from tokens)
    ) as room_in,
    (select lane from lane where number > %(lanes)s::bigint) as next_lane,
    (select priority from last) as last_priority,
    (select run_at::text from last) as last_run_at,
    (select id::text from last) as last_id,
    id::text,
    input::text,
    extract(epoch from timeout)::text as timeout,
    attempt,
    max_attempts,
    extract(epoch from retry_delay)::text as retry_delay,
    priority,
    extract(epoch from run_at)::text as run_at,
    (select extract(epoch from now())::text) as claimed_at,
    rest
from (select) as always
left join claimed on true
order by claimed.priority, claimed.run_at, claimed.id;

-- claim_in_order
--
-- Claim as claim_limited.sql does, but of each key one job at a time, in the order of their numbers. The first
-- of a key that has not ended is its head: no other is claimed, and the head only once it is due, while none
-- of its key runs, and none before it has failed that holds what is behind. So a retry, which has its
-- predecessor's number, and what was released, keep their places, and what waits behind waits on.
-- Heads are looked for by keys: those of the `front` first due jobs by priority and age, and `keys` more
-- from `from_key` on, so that each claim comes to other ones. How many jobs wait behind a head costs nothing.
-- A job that was inserted without a number, as plain SQL does it, is given one: of all that is pending,
-- `walk` jobs are looked at for that, from a position on, in turn. There always is a row: it says where the
-- next claim goes on, and whether jobs that are due wait for others.
-- Safe under concurrency: as claim_limited.sql is. All who claim hold the lock of the queue's limiter, so
-- that what they have claimed is seen here as running. A job of a lower number that is committed after this
-- began is not seen, and comes next; by then the other runs, and is waited for. What is no more pending once
-- it is locked is left out, as are rows that others have locked.
with recursive level (priority) as (
    (
        select priority from m25.job
        where queue_name = %(queue_name)s::text and status = 'pending'
        order by priority limit 1
    )
    union all
    select (
        select job.priority from m25.job
        where queue_name = %(queue_name)s::text and status = 'pending' and job.priority > level.priority
        order by job.priority limit 1
    )
    from level
    where level.priority is not null
),
size as materialized (
    select coalesce(set_to, declared, 2147483647) as size
    from m25.limiter
    where name = %(limiter)s::text
),
live as materialized (
    select
        job.id,
        left(coalesce(job.input #>> queue.limit_path, ''), 200) as key,
        coalesce(job.place, job.id) as place
    from m25.queue
    join m25.job on job.queue_name = queue.name
    where queue.limiter = %(limiter)s::text
        and job.queue_name = any(
            array(select name from m25.queue where limiter = %(limiter)s::text)
        )
        and job.reserved_at is not null
        and job.finished_at is null
        and job.cancelled_at is null
),
outside as materialized (
    select id, key
    from m25.limit_holder
    where limiter = %(limiter)s::text
),
awaited as materialized (
    select awaited_key as key
    from m25.limiter
    where name = %(limiter)s::text
        and awaited_since <= now() - interval '1 second'
        and asked_at > now() - interval '3 seconds'
        and not (jobs_next and coalesce(turn_at <= now(), false))
),
taken as materialized (
    select key, count(distinct place) as number
    from (
        select key, place from live
        union all
        select key, id from outside
        union all
        select key, uuid '00000000-0000-0000-0000-000000000000' from awaited
    ) as each
    group by key
),
rate as materialized (
    select
        rate_interval as seconds,
        now() as at,
        greatest(
            coalesce(next_start_at, '-infinity'),
            now() - make_interval(secs => rate_burst * rate_interval)
        ) as next_start_at
    from m25.limiter
    where name = %(limiter)s::text and rate_interval is not null
),
tokens as materialized (
    select
        case
            when next_start_at > at then 0
            else floor(extract(epoch from at - next_start_at)::float8 / seconds)::bigint + 1
        end as number
    from rate
),
free as materialized (
    select
        least(
            %(limit)s::bigint,
            case
                when size.size < 2147483647
                then size.size - coalesce((select number from taken where key = ''), 0)
            end,
            (select number from tokens)
        ) as free
    from size
),
walked as materialized (
    select id, priority, run_at, order_number is null as is_new
    from m25.job
    where queue_name = %(queue_name)s::text
        and status = 'pending'
        and (priority, run_at, id)
            > (%(priority)s::smallint, %(run_at)s::timestamptz, %(id)s::uuid)
    order by priority, run_at, id
    limit %(walk)s::bigint
),
last as materialized (
    select priority, run_at, id
    from walked
    order by priority, run_at, id
    offset %(walk)s::bigint - 1
    limit 1
),
new as materialized (
    select
        id,
        created_at,
        left(
            coalesce(
                input #>> (select order_path from m25.queue where name = %(queue_name)s::text),
                ''
            ),
            200
        ) as key
    from m25.job
    where id = any(array(select id from walked where is_new))
        and status = 'pending'
        and order_number is null
    order by id
    for no key update skip locked
),
numbered as materialized (
    select id, key, m25.next_order_number() as number
    from (select id, key from new order by created_at, id) as in_order
),
placed as (
    update m25.job
    set order_key = numbered.key, order_number = numbered.number
    from numbered
    where job.id = any(array(select id from numbered))
        and numbered.id = job.id
    returning job.id
),
front as materialized (
    select candidate.id, candidate.order_key
    from level
    cross join lateral (
        select id, order_key
        from m25.job
        where queue_name = %(queue_name)s::text
            and status = 'pending'
            and job.priority = level.priority
            and run_at <= now()
        order by run_at, id
        limit %(front)s::bigint
    ) as candidate
    where level.priority is not null
    limit %(front)s::bigint
),
key (key, number) as (
    (
        select order_key, 1 from m25.job
        where queue_name = %(queue_name)s::text
            and order_number is not null
                and finished_at is null
                and cancelled_at is null
            and order_key >= %(from_key)s::text
        order by order_key limit 1
    )
    union all
    select (
        select job.order_key from m25.job
        where queue_name = %(queue_name)s::text
            and order_number is not null
                and finished_at is null
                and cancelled_at is null
            and job.order_key > key.key
        order by job.order_key limit 1
    ), number + 1
    from key
    where key.key is not null and number <= %(keys)s::bigint
),
running as materialized (
    select distinct order_key
    from m25.job
    where queue_name = %(queue_name)s::text
        and reserved_at is not null
        and finished_at is null
        and cancelled_at is null
        and order_key is not null
),
looked_at as materialized (
    (
        select key from key where key is not null and number <= %(keys)s::bigint
        union
        select order_key from front where order_key is not null
    )
    except
    select order_key from running
),
head as materialized (
    select job.id, job.priority, job.run_at
    from looked_at
    cross join lateral (
        select id, priority, run_at, status, follows, order_number
        from m25.job
        where queue_name = %(queue_name)s::text
            and order_number is not null
                and finished_at is null
                and cancelled_at is null
            and job.order_key = looked_at.key
        order by order_number
        limit 1
    ) as job
    where job.status = 'pending'
        and (
            follows is null
            or (
                (
                    select true
                    from m25.job as first
                    where first.id = job.follows
                        and first.finished_at is null
                        and first.cancelled_at is null
                    limit 1
                ) is null
                and (
                    select true
                    from m25.job as next
                    where next.original_attempt_id = job.follows
                        and next.finished_at is null
                        and next.cancelled_at is null
                    limit 1
                ) is null
            )
        )
        and (
            -- Mostly there is none, and then it is not looked for by key.
            not exists (select from m25.stopped_key where queue_name = %(queue_name)s::text)
            or (
                select true
                from m25.stopped_key
                where queue_name = %(queue_name)s::text
                    and stopped_key.order_key = looked_at.key
                    and stopped_key.order_number < job.order_number
                limit 1
            ) is null
        )
        and (
            select paused_at from m25.queue where name = %(queue_name)s::text
        ) is null
),
due as materialized (
    select id
    from m25.job
    where id = any(array(
            select id
            from head
            where run_at <= now()
            order by priority, run_at, id
            limit greatest((select free from free), 0)
        ))
        and status = 'pending'
    order by id
    for no key update skip locked
),
claimed as (
    update m25.job
    set
        reserved_at = now(),
        claim_token = %(claim_token)s::uuid,
        started_at = case when %(start)s::boolean then now() end,
        deadline = case
            when %(start)s::boolean
            then now() + make_interval(
                secs => greatest(least(extract(epoch from timeout), 31557600000), 0)::float8
            )
        end,
        lease_expires_at = now() + %(lease)s::interval,
        has_begun = case when has_begun is not null then true end
    where id = any(array(select id from due))
    returning
        id, input, timeout, attempt, max_attempts, retry_delay, priority, run_at,
        case
            when num_nonnulls(
                    scheduled_at, original_attempt_id, previous_attempt_id, unique_key, meta,
                    expires_at, own_retry, setup_failures, progress, parent_id, has_children,
                    has_begun, unknown_since, session_losses
                ) > 0
                or losses <> 0
            then array[
                extract(epoch from created_at)::text,
                extract(epoch from scheduled_at)::text,
                original_attempt_id::text,
                previous_attempt_id::text,
                unique_key::text,
                losses::text,
                meta::text,
                extract(epoch from expires_at)::text,
                own_retry::text,
                setup_failures::text,
                progress::text,
                parent_id::text,
                has_children::text,
                has_begun::text,
                extract(epoch from unknown_since)::text,
                session_losses::text
            ]
        end as rest
),
spent as (
    update m25.limiter
    set next_start_at = rate.next_start_at
        + make_interval(secs => least((select count(*) from due) * rate.seconds, 31557600000))
    from rate
    where limiter.name = %(limiter)s::text and (select count(*) from due) > 0
    returning limiter.name
),
left_jobs as materialized (
    select
        (select count(*) from due) >= (select free from free)
        and (select free from free) < %(limit)s::bigint as has_left
),
turn_taken as (
    update m25.limiter
    set turn_at = now() + interval '1 second'
    where name = %(limiter)s::text
        and turn_at is null
        and rate_interval is null
        and exists (select from outside)
        and (select has_left from left_jobs)
    returning name
)
select
    (
        select count(pg_notify(%(room_channel)s::text, %(limiter)s::text))
        from awaited
        cross join size
        join taken on taken.key = awaited.key
        where taken.number <= size.size and %(notifies)s::boolean
    ) as awaited_told,
    (select has_left from left_jobs) as is_full,
    exists (select from placed) as has_more,
    exists (select from front where id not in (select id from due)) as has_waiting,
    (select extract(epoch from min(run_at) - now())::float8 from head where run_at > now()) as next_in,
    (
        select
            greatest(
                extract(
                    epoch from rate.next_start_at
                        + make_interval(secs => least((select count(*) from due) * rate.seconds, 31557600000))
                        - rate.at
                ),
                0
            )::float8
        from rate
        where (select count(*) from due) >= (select number from tokens)
    ) as room_in,
    (select key from key where number > %(keys)s::bigint) as next_key,
    (select priority from last) as last_priority,
    (select run_at::text from last) as last_run_at,
    (select id::text from last) as last_id,
    id::text,
    input::text,
    extract(epoch from timeout)::text as timeout,
    attempt,
    max_attempts,
    extract(epoch from retry_delay)::text as retry_delay,
    priority,
    extract(epoch from run_at)::text as run_at,
    (select extract(epoch from now())::text) as claimed_at,
    rest
from (select) as always
left join claimed on true
order by claimed.priority, claimed.run_at, claimed.id;

-- claim_limited
--
-- Claim as claim.sql does, but no more jobs than may run under the queue's limit, and begin by its rate;
-- the limit is locked by this transaction. There always is a row: it says whether the limit is reached, also where no job is claimed.
-- A claim that finds the limit reached looks at no job, however many are due. Unless others wait
-- already, it is its turn in a second: see succeed_and_claim.sql.
-- Safe under concurrency: all who claim under the limit hold its lock when they count, and this
-- statement began after it was had. Who ends a job needs no lock: that only makes more room.
with recursive level (priority) as (
    (
        select priority from m25.job
        where queue_name = %(queue_name)s::text and status = 'pending'
        order by priority limit 1
    )
    union all
    select (
        select job.priority from m25.job
        where queue_name = %(queue_name)s::text and status = 'pending' and job.priority > level.priority
        order by job.priority limit 1
    )
    from level
    where level.priority is not null
),
size as materialized (
    select coalesce(set_to, declared, 2147483647) as size
    from m25.limiter
    where name = %(limiter)s::text
),
live as materialized (
    select
        job.id,
        left(coalesce(job.input #>> queue.limit_path, ''), 200) as key,
        coalesce(job.place, job.id) as place
    from m25.queue
    join m25.job on job.queue_name = queue.name
    where queue.limiter = %(limiter)s::text
        and job.queue_name = any(
            array(select name from m25.queue where limiter = %(limiter)s::text)
        )
        and job.reserved_at is not null
        and job.finished_at is null
        and job.cancelled_at is null
),
outside as materialized (
    select id, key
    from m25.limit_holder
    where limiter = %(limiter)s::text
),
awaited as materialized (
    select awaited_key as key
    from m25.limiter
    where name = %(limiter)s::text
        and awaited_since <= now() - interval '1 second'
        and asked_at > now() - interval '3 seconds'
        and not (jobs_next and coalesce(turn_at <= now(), false))
),
taken as materialized (
    select key, count(distinct place) as number
    from (
        select key, place from live
        union all
        select key, id from outside
        union all
        select key, uuid '00000000-0000-0000-0000-000000000000' from awaited
    ) as each
    group by key
),
rate as materialized (
    select
        rate_interval as seconds,
        now() as at,
        greatest(
            coalesce(next_start_at, '-infinity'),
            now() - make_interval(secs => rate_burst * rate_interval)
        ) as next_start_at
    from m25.limiter
    where name = %(limiter)s::text and rate_interval is not null
),
tokens as materialized (
    select
        case
            when next_start_at > at then 0
            else floor(extract(epoch from at - next_start_at)::float8 / seconds)::bigint + 1
        end as number
    from rate
),
free as materialized (
    select
        least(
            size.size - coalesce((select number from taken where key = ''), 0),
            (select number from tokens)
        ) as free
    from size
),
due as materialized (
    select candidate.id, candidate.priority, candidate.run_at
    from level
    cross join lateral (
        select id, priority, run_at from m25.job
        where queue_name = %(queue_name)s::text
            and status = 'pending'
            and job.priority = level.priority
            and run_at <= now()
            and (
                follows is null
                or (
                    (
                        select true
                        from m25.job as first
                        where first.id = job.follows
                            and first.finished_at is null
                            and first.cancelled_at is null
                        limit 1
                    ) is null
                    and (
                        select true
                        from m25.job as next
                        where next.original_attempt_id = job.follows
                            and next.finished_at is null
                            and next.cancelled_at is null
                        limit 1
                    ) is null
                )
            )
        order by run_at, id
        limit least(%(limit)s::bigint, greatest(coalesce((select free from free), 0), 0))
        for no key update skip locked
    ) as candidate
    where level.priority is not null
        and (
            select paused_at from m25.queue where name = %(queue_name)s::text
        ) is null
    limit least(%(limit)s::bigint, greatest(coalesce((select free from free), 0), 0))
),
claimed as (
    update m25.job
    set
        reserved_at = now(),
        claim_token = %(claim_token)s::uuid,
        started_at = case when %(start)s::boolean then now() end,
        deadline = case
            when %(start)s::boolean
            then now() + make_interval(
                secs => greatest(least(extract(epoch from timeout), 31557600000), 0)::float8
            )
        end,
        lease_expires_at = now() + %(lease)s::interval,
        has_begun = case when has_begun is not null then true end
    where id = any(array(select id from due))
    returning
        id, input, timeout, attempt, max_attempts, retry_delay, priority, run_at,
        case
            when num_nonnulls(
                    scheduled_at, original_attempt_id, previous_attempt_id, unique_key, meta,
                    expires_at, own_retry, setup_failures, progress, parent_id, has_children,
                    has_begun, unknown_since, session_losses
                ) > 0
                or losses <> 0
            then array[
                extract(epoch from created_at)::text,
                extract(epoch from scheduled_at)::text,
                original_attempt_id::text,
                previous_attempt_id::text,
                unique_key::text,
                losses::text,
                meta::text,
                extract(epoch from expires_at)::text,
                own_retry::text,
                setup_failures::text,
                progress::text,
                parent_id::text,
                has_children::text,
                has_begun::text,
                extract(epoch from unknown_since)::text,
                session_losses::text
            ]
        end as rest
),
spent as (
    update m25.limiter
    set next_start_at = rate.next_start_at
        + make_interval(secs => least((select count(*) from due) * rate.seconds, 31557600000))
    from rate
    where limiter.name = %(limiter)s::text and (select count(*) from due) > 0
    returning limiter.name
),
waits as (
    update m25.limiter
    set turn_at = now() + interval '1 second'
    where name = %(limiter)s::text
        and turn_at is null
        -- By a rate none is passed on; and `spent` writes the row.
        and rate_interval is null
        and (select count(*) from due) >= (select free from free)
        and (select count(*) from due) < %(limit)s::bigint
    returning name
)
select
    (
        select count(pg_notify(%(room_channel)s::text, %(limiter)s::text))
        from awaited
        cross join size
        join taken on taken.key = awaited.key
        where taken.number <= size.size and %(notifies)s::boolean
    ) as awaited_told,
    (select count(*) from due) >= coalesce((select free from free), 0) as is_full,
    false as has_more,
    null::text as last_key,
    (
        select
            greatest(
                extract(
                    epoch from rate.next_start_at
                        + make_interval(secs => least((select count(*) from due) * rate.seconds, 31557600000))
                        - rate.at
                ),
                0
            )::float8
        from rate
        where (select count(*) from due) >= (select number from tokens)
    ) as room_in,
    id::text,
    input::text,
    extract(epoch from timeout)::text as timeout,
    attempt,
    max_attempts,
    extract(epoch from retry_delay)::text as retry_delay,
    priority,
    extract(epoch from run_at)::text as run_at,
    (select extract(epoch from now())::text) as claimed_at,
    rest
from (select) as always
left join claimed on true
order by claimed.priority, claimed.run_at, claimed.id;

-- confirm
--
-- Make sure of claims whose commit was not acknowledged, and that have begun all the same: a row that
-- carries the claim's token is held; one that is pending again, as a server that went down at the
-- commit leaves it, is claimed once more; but for one whose input may have been replaced since. The ids that come
-- back are held.
-- Safe under concurrency: a row that is locked, perhaps by the very commit in question, is left out,
-- and find_locked.sql tells of it; a row that somebody else has claimed meanwhile is left alone.
with wanted as (
    select * from unnest(%(id)s::uuid[], %(claim_token)s::uuid[]) as w (id, claim_token)
),
held as materialized (
    select job.id
    from m25.job
    join wanted on wanted.id = job.id
    where job.id = any(%(id)s::uuid[])
        and job.finished_at is null
        and job.cancelled_at is null
        and (
            job.reserved_at is null

            and job.has_begun is not false
            or job.started_at is not null and job.claim_token = wanted.claim_token
        )
    order by job.id
    for no key update of job skip locked
)
update m25.job
set
    reserved_at = coalesce(job.reserved_at, now()),
    claim_token = wanted.claim_token,
    started_at = coalesce(job.started_at, now()),
    deadline = coalesce(
        job.deadline,
        now() + make_interval(
            secs => greatest(least(extract(epoch from timeout), 31557600000), 0)::float8
        )
    ),
    lease_expires_at = now() + %(lease)s::interval
from wanted
where job.id = any(array(select id from held))
    and wanted.id = job.id
returning job.id::text;

-- count_by_status
--
-- Count jobs of a queue, or of all, by status, in a part of a walk over the table: what count_jobs.sql does
-- where nothing else is asked of them. What an index counts by itself is left to it: what has failed or was
-- cancelled, and what has not ended. What has succeeded, which most rows have, no index has by itself; it
-- is what is left of all ids of the part, which an index has, too. So no row of the table is read, at a
-- fifth of the price, and it is exact: all that is counted here is of one snapshot.
-- There are two cases in which rows are read, and nothing of them but queue and status. The ids know no
-- queue. And where much is pending, what is pending would be counted anew for each part.
-- There always is one row. Reads only. A job that changes meanwhile is counted as it was.
with bound as materialized (
    (
        select id
        from m25.job
        where id < %(after)s::uuid and %(source)s::text = 'all'
        order by id desc
        offset %(walk)s::bigint
        limit 1
    )
    union all
    (
        select id
        from m25.job
        where status in ('failed', 'cancelled')
            and id < %(after)s::uuid
            and %(source)s::text = 'unsuccessful'
        order by id desc
        offset %(walk)s::bigint
        limit 1
    )
),
way as materialized (
    select
        %(source)s::text = 'all'
        and %(queue_name)s::text is null
        and (
            select true
            from m25.job
            where status = 'pending' and queue_name >= ''
            offset %(walk)s::bigint / 4
            limit 1
        ) is null as is_by_ids
),
ids as materialized (
    -- The bound is the last of so many.
    select coalesce(
        (select %(walk)s::bigint + 1 from bound),
        (select count(*) from m25.job where id < %(after)s::uuid)
    ) as number
    where (select is_by_ids from way)
),
unsuccessful as materialized (
    select
        status,
        count(*) as attempts,
        count(*) filter (
            where (%(statuses)s::text[] is null or status = any(%(statuses)s::text[]))

                and (
                    select true
                    from m25.job as next
                    where next.original_attempt_id = coalesce(job.original_attempt_id, job.id)
                        and next.attempt > job.attempt
                    limit 1
                ) is null
        ) as number
    from m25.job
    where status in ('failed', 'cancelled')
        and id < %(after)s::uuid
        and id >= coalesce((select id from bound), '00000000-0000-0000-0000-000000000000')
        and %(source)s::text in ('all', 'unsuccessful')
        and (%(queue_name)s::text is null or queue_name = %(queue_name)s::text)
    group by status
),
other as materialized (
    -- To group rows by status would take a fifth longer.
    select
        count(*) filter (where status = 'succeeded') as succeeded,
        count(*) filter (where status = 'pending') as pending,
        count(*) filter (where status = 'reserved') as reserved,
        count(*) filter (where status = 'executing') as executing
    from m25.job
    where id < %(after)s::uuid
        and id >= coalesce((select id from bound), '00000000-0000-0000-0000-000000000000')
        and %(source)s::text = 'all'
        and not (select is_by_ids from way)
        and (%(queue_name)s::text is null or queue_name = %(queue_name)s::text)
),
-- Of what has not ended the ids are looked at where it is counted: as a condition of the rows they would
-- have these found by the index of ids, which has all others, too.
pending as materialized (
    select
        count(*) filter (
            where id < %(after)s::uuid
                and id >= coalesce((select id from bound), '00000000-0000-0000-0000-000000000000')
        ) as number
    from m25.job
    where status = 'pending'
        and queue_name >= coalesce(%(queue_name)s::text, '')
        and (%(source)s::text = 'unended' or (select is_by_ids from way))
        and (%(queue_name)s::text is null or queue_name = %(queue_name)s::text)
),
live as materialized (
    select
        status,
        count(*) filter (
            where id < %(after)s::uuid
                and id >= coalesce((select id from bound), '00000000-0000-0000-0000-000000000000')
        ) as number
    from m25.job
    where reserved_at is not null
        and finished_at is null
        and cancelled_at is null
        and queue_name >= coalesce(%(queue_name)s::text, '')
        and (%(source)s::text = 'unended' or (select is_by_ids from way))
        and (%(queue_name)s::text is null or queue_name = %(queue_name)s::text)
    group by status
),
counted as materialized (
    select status, number
    from (
        select status, number from unsuccessful
        union all
        select 'pending', number from pending
        union all
        select status, number from live
        union all
        select
            'succeeded',
            number

                - coalesce((select sum(attempts) from unsuccessful), 0)::bigint
                - (select number from pending)
                - coalesce((select sum(number) from live), 0)::bigint
        from ids
        union all
        select each.status, each.number
        from other
        cross join lateral (
            values
                ('succeeded', succeeded),
                ('pending', pending),
                ('reserved', reserved),
                ('executing', executing)
        ) as each (status, number)
    ) as each
    where number > 0
        and (%(statuses)s::text[] is null or status = any(%(statuses)s::text[]))
)
select
    bound.id::text as bound_id,
    (
        select extract(epoch from created_at)::text from m25.job where job.id = bound.id
    ) as bound_created_at,
    counted.status,
    counted.number
from (values (true)) as always (is_there)
left join bound on true
left join counted on true;

-- count_jobs
--
-- Count jobs by what they are, in a part of a walk over the table, as find_jobs.sql finds them. There
-- always is one row. Reads only.
with bound as materialized (
    (
        select id
        from m25.job
        where id < %(after)s::uuid and %(source)s::text = 'all'
        order by id desc
        offset %(walk)s::bigint
        limit 1
    )
    union all
    (
        select id
        from m25.job
        where status in ('failed', 'cancelled')
            and id < %(after)s::uuid
            and %(source)s::text = 'unsuccessful'
        order by id desc
        offset %(walk)s::bigint
        limit 1
    )
),
found as (
    select id, status
    from m25.job
    where id < %(after)s::uuid
        and id >= coalesce((select id from bound), '00000000-0000-0000-0000-000000000000')
        and %(source)s::text = 'all'
        and (%(queue_name)s::text is null or queue_name = %(queue_name)s::text)
        and (%(statuses)s::text[] is null or status = any(%(statuses)s::text[]))
        and (%(since)s::timestamptz is null or created_at >= %(since)s::timestamptz)
        and (
            %(ended_before)s::timestamptz is null
            or coalesce(finished_at, cancelled_at) < %(ended_before)s::timestamptz
        )
        and (
            status not in ('failed', 'cancelled')
            or (
                select true
                from m25.job as next
                where next.original_attempt_id = coalesce(job.original_attempt_id, job.id)
                    and next.attempt > job.attempt
                limit 1
            ) is null
        )
        and (%(where)s::jsonb is null or input @> %(where)s::jsonb)
    union all
    select id, status
    from m25.job
    where status in ('failed', 'cancelled')
        and id < %(after)s::uuid
        and id >= coalesce((select id from bound), '00000000-0000-0000-0000-000000000000')
        and %(source)s::text = 'unsuccessful'
        and (%(queue_name)s::text is null or queue_name = %(queue_name)s::text)
        and (%(statuses)s::text[] is null or status = any(%(statuses)s::text[]))
        and (%(since)s::timestamptz is null or created_at >= %(since)s::timestamptz)
        and (
            %(ended_before)s::timestamptz is null
            or coalesce(finished_at, cancelled_at) < %(ended_before)s::timestamptz
        )
        and (
            status not in ('failed', 'cancelled')
            or (
                select true
                from m25.job as next
                where next.original_attempt_id = coalesce(job.original_attempt_id, job.id)
                    and next.attempt > job.attempt
                limit 1
            ) is null
        )
        and (%(where)s::jsonb is null or input @> %(where)s::jsonb)
    union all
    select id, status
    from m25.job
    where status = 'pending'
        and queue_name >= coalesce(%(queue_name)s::text, '')
        and id < %(after)s::uuid
        and %(source)s::text = 'unended'
        and 'pending' = any(%(statuses)s::text[])
        and (%(queue_name)s::text is null or queue_name = %(queue_name)s::text)
        and (%(statuses)s::text[] is null or status = any(%(statuses)s::text[]))
        and (%(since)s::timestamptz is null or created_at >= %(since)s::timestamptz)
        and (
            %(ended_before)s::timestamptz is null
            or coalesce(finished_at, cancelled_at) < %(ended_before)s::timestamptz
        )
        and (
            status not in ('failed', 'cancelled')
            or (
                select true
                from m25.job as next
                where next.original_attempt_id = coalesce(job.original_attempt_id, job.id)
                    and next.attempt > job.attempt
                limit 1
            ) is null
        )
        and (%(where)s::jsonb is null or input @> %(where)s::jsonb)
    union all
    select id, status
    from m25.job
    where reserved_at is not null
        and finished_at is null
        and cancelled_at is null
        and queue_name >= coalesce(%(queue_name)s::text, '')
        and id < %(after)s::uuid
        and %(source)s::text = 'unended'
        and array['reserved', 'executing'] && %(statuses)s::text[]
        and (%(queue_name)s::text is null or queue_name = %(queue_name)s::text)
        and (%(statuses)s::text[] is null or status = any(%(statuses)s::text[]))
        and (%(since)s::timestamptz is null or created_at >= %(since)s::timestamptz)
        and (
            %(ended_before)s::timestamptz is null
            or coalesce(finished_at, cancelled_at) < %(ended_before)s::timestamptz
        )
        and (
            status not in ('failed', 'cancelled')
            or (
                select true
                from m25.job as next
                where next.original_attempt_id = coalesce(job.original_attempt_id, job.id)
                    and next.attempt > job.attempt
                limit 1
            ) is null
        )
        and (%(where)s::jsonb is null or input @> %(where)s::jsonb)
),
counted as materialized (
    select status, count(*) as number from found group by status
)
select
    bound.id::text as bound_id,
    (
        select extract(epoch from created_at)::text from m25.job where job.id = bound.id
    ) as bound_created_at,
    counted.status,
    counted.number
from (values (true)) as always (is_there)
left join bound on true
left join counted on true;

-- declare_limit
--
-- Write down a limit of which places are held outside of jobs, as a program declares it.
-- Safe under concurrency: it is one row, written by an upsert that leaves it alone where nothing has
-- changed. Of two programs that declare it in different ways, the later one is right, as of two workers.
insert into m25.limiter (name, declared, is_held, held_path)
values (%(limiter)s::text, %(size)s::integer, true, %(path)s::text[])
on conflict (name) do update
set declared = excluded.declared, is_held = true, held_path = excluded.held_path
where (limiter.declared, limiter.is_held, limiter.held_path)
    is distinct from (excluded.declared, true, excluded.held_path)
returning name;

-- declare_schedules
--
-- Write down what a client declares of its schedules. Returned are those that were declared otherwise.
-- Safe under concurrency: an upsert for each, in the order of names, which leaves a row alone where
-- nothing has changed. A pause stays. A new schedule has no past, nor has one with other times.
insert into m25.schedule (name, queue_name, expression, every, timezone, catch_up, overlap)
select *
from unnest(
    %(name)s::text[],
    %(queue_name)s::text[],
    %(expression)s::text[],
    %(every)s::interval[],
    %(timezone)s::text[],
    %(catch_up)s::text[],
    %(overlap)s::text[]
) as s (name, queue_name, expression, every, timezone, catch_up, overlap)
order by name
on conflict (name) do update
set
    revision = schedule.revision + 1,
    declared_at = now(),
    queue_name = excluded.queue_name,
    expression = excluded.expression,
    every = excluded.every,
    timezone = excluded.timezone,
    catch_up = excluded.catch_up,
    overlap = excluded.overlap,
    last_tick = case
        when (schedule.expression, schedule.every, schedule.timezone)
            is distinct from (excluded.expression, excluded.every, excluded.timezone)
        then greatest(schedule.last_tick, now())
        else schedule.last_tick
    end
where (
        schedule.queue_name,
        schedule.expression,
        schedule.every,
        schedule.timezone,
        schedule.catch_up,
        schedule.overlap
    ) is distinct from (
        excluded.queue_name,
        excluded.expression,
        excluded.every,
        excluded.timezone,
        excluded.catch_up,
        excluded.overlap
    )
returning name, revision > 1 as is_changed;

-- delete_jobs
--
-- Delete jobs that have ended, by the id of any of their attempts, each with all that belongs to it.
-- Safe under concurrency: what is left and what goes, deleted_trees.sql says, what has not ended among it.
with recursive latest as materialized (
    select asked.id as asked, attempt.id as latest_id
    from unnest(%(id)s::uuid[]) as asked (id)
    join m25.job as named on named.id = asked.id
    cross join lateral (
        select first.id, first.attempt
        from m25.job as first
        where first.id = coalesce(named.original_attempt_id, named.id)
        union all
        select next.id, next.attempt
        from m25.job as next
        where next.original_attempt_id = coalesce(named.original_attempt_id, named.id)
        order by attempt desc
        limit 1
    ) as attempt
    where named.id = any(%(id)s::uuid[])
),
seen as materialized (
    select distinct
        latest.asked,
        coalesce(job.original_attempt_id, job.id) as job_id,
        job.parent_id,
        job.has_children
    from latest
    join m25.job on job.id = latest.latest_id
    where job.id = any(array(select latest_id from latest))
),
ended as materialized (
    select distinct job_id as id, has_children
    from seen
    where parent_id is null
),
tree (root_id, job_id, has_children) as (
    select id, id, has_children from ended
    union
    select tree.root_id, child.job_id, child.has_children
    from tree
    cross join lateral (
        select coalesce(original_attempt_id, id) as job_id, has_children
        from m25.job
        where parent_id = tree.job_id
        offset 0
    ) as child
    where tree.has_children
),
member as materialized (
    select tree.root_id, attempt.id, attempt.is_live, attempt.version
    from (select distinct root_id, job_id from tree) as tree
    cross join lateral (
        select
            first.id,
            first.finished_at is null and first.cancelled_at is null as is_live,
            first.xmin as version
        from m25.job as first
        where first.id = tree.job_id
        union all
        select next.id, next.finished_at is null and next.cancelled_at is null, next.xmin
        from m25.job as next
        where next.original_attempt_id = tree.job_id
    ) as attempt
),
whole as materialized (
    select root_id, count(*) as number
    from member
    group by root_id
    having not bool_or(is_live)
),
locked as materialized (
    select job.id
    from m25.job
    join member
        on member.id = job.id
        and member.version = job.xmin
    where job.id = any(array(select member.id from member join whole using (root_id)))
    order by job.id
    for update of job skip locked
),
pruned as materialized (
    select member.root_id
    from member
    join whole using (root_id)
    join locked on locked.id = member.id
    group by member.root_id, whole.number
    having count(*) = whole.number
),
deleted as (
    delete from m25.job
    where id = any(array(select member.id from member join pruned using (root_id)))
    returning id
)
select
    seen.asked::text,
    case
        when seen.job_id in (select root_id from pruned) then null
        when seen.parent_id is not null then 'child'
        when seen.job_id not in (select root_id from whole) then 'live'
        else 'locked'
    end as refusal,
    null as other_id,
    (select count(*) from deleted) as attempts
from seen;

-- dismiss
--
-- Note that workers have ended: one that stops, and those of which nothing was heard for `silence` and
-- whose sessions are gone, or were never named. The jobs of such a worker, if there are any, have
-- leases.
-- Safe under concurrency: to end a row twice is to end it once, and a live worker that was taken for
-- ended says with its next announcement that it is there.
update m25.worker
set ended_at = now(), session_pids = array[]::integer[], session_starts = array[]::timestamptz[]
where ended_at is null
    and (
        id = %(id)s::uuid
        or latest_heartbeat_at < now() - %(silence)s::interval
        and not exists (
            select
            from pg_catalog.pg_stat_activity as activity
            where activity.pid = any(worker.session_pids)
                and (
                    activity.backend_start is null
                    or activity.backend_start = any(worker.session_starts)
                )
        )
    )
returning id::text;

-- end_transactions
--
-- End the sessions that have a handler's transaction open, by the `application_name` that each has
-- set for it: those of claims whose owners are dead, as the caller knows. What they have written is
-- rolled back, and the rows that they have locked are free. A session that has just begun another
-- transaction has another name; should it do so in this very moment, it is ended in that one, which is
-- rolled back too. One that commits is left alone: it waits for nobody but the server, perhaps for a
-- standby.
-- Safe under concurrency: a session ends once. A heartbeat since the caller's look has made another
-- lease of it, and saves its session.
with suspect as (
    select *
    from unnest(
        %(name)s::text[], %(id)s::uuid[], %(claim_token)s::uuid[], %(lease_expires_at)s::text[]
    ) as s (name, id, claim_token, lease_expires_at)
),
dead as (
    select suspect.name, job.id
    from m25.job
    join suspect on suspect.id = job.id and suspect.claim_token = job.claim_token
    where job.id = any(%(id)s::uuid[])
        and job.status = 'executing'
        and extract(epoch from job.lease_expires_at)::text
            is not distinct from suspect.lease_expires_at
)
select
    dead.id::text,
    case
        when pg_has_role(activity.usesysid, 'member') then pg_terminate_backend(activity.pid)
        else false
    end as is_ended
from dead
join pg_catalog.pg_stat_activity as activity
    on activity.application_name = dead.name and activity.datname = current_database()

where
    -- Where tracking is off, nobody knows what it does.
    coalesce(
        not (activity.state = 'active' and activity.query like '/* m25.commit */%%'),
        true
    );

-- enqueue
--
-- Insert new jobs.
-- Safe under concurrency: a row whose id or unique key exists is skipped by the index itself, never
-- an error, so a caller's transaction stays usable; an id or a key being inserted by another
-- transaction is waited for. Rows go in ordered by key, so that two batches with the same keys cannot deadlock.
-- `channels` are notified in the same commit; an empty array notifies nobody.
with bounded as materialized (
    select case
        when %(lock_wait)s::text is not null
        then set_config('lock_timeout', %(lock_wait)s::text, true)
    end as lock_timeout
),
wanted as (
    select
        id,
        coalesce(queue_name, (%(queue_name)s::text[])[1]) as queue_name,
        scheduled_at,
        coalesce(input, (%(input)s::jsonb[])[1]) as input,
        coalesce(timeout, (%(timeout)s::interval[])[1]) as timeout,
        coalesce(max_attempts, (%(max_attempts)s::integer[])[1]) as max_attempts,
        coalesce(retry_delay, (%(retry_delay)s::interval[])[1]) as retry_delay,
        unique_key,
        coalesce(priority, (%(priority)s::smallint[])[1]) as priority,
        meta,
        expires_at,
        own_retry,
        waiter,
        parent_id,
        lane,
        order_key,
        case when order_key is not null then m25.next_order_number() end as order_number
    from unnest(
        %(id)s::uuid[],
        %(queue_name)s::text[],
        %(scheduled_at)s::timestamptz[],
        %(input)s::jsonb[],
        %(timeout)s::interval[],
        %(max_attempts)s::integer[],
        %(retry_delay)s::interval[],
        %(unique_key)s::text[],
        %(priority)s::smallint[],
        %(meta)s::jsonb[],
        %(expires_at)s::timestamptz[],
        %(own_retry)s::boolean[],
        %(waiter)s::text[],
        %(parent_id)s::uuid[],
        %(lane)s::text[],
        %(order_key)s::text[]
    ) as w (
        id, queue_name, scheduled_at, input, timeout, max_attempts, retry_delay,
        unique_key, priority, meta, expires_at, own_retry, waiter, parent_id, lane,
        order_key
    )
),
inserted as (
    insert into m25.job (
        attempt,
        order_number,
        id, queue_name, scheduled_at, input, timeout, max_attempts, retry_delay,
        unique_key, priority, meta, expires_at, own_retry, waiter, parent_id, lane,
        order_key
    )
    select
        1,
        order_number,
        id, queue_name, scheduled_at, input, timeout, max_attempts, retry_delay,
        unique_key, priority, meta, expires_at, own_retry, waiter, parent_id, lane,
        order_key
    from bounded, wanted
    order by unique_key, id
    on conflict do nothing
    returning id, created_at
)
select
    id::text,
    extract(epoch from created_at)::text as created_at,
    (select count(pg_notify(channel, '')) from unnest(%(channels)s::text[]) as channel) as notified
from inserted;

-- enqueue_one
--
-- Insert a new job: `enqueue` for a batch of one, at half the price, for who enqueues one by one.
-- Safe under concurrency: a row whose id or unique key exists is skipped by the index itself, never
-- an error, so a caller's transaction stays usable; an id or a key being inserted by another
-- transaction is waited for. `channel`, if any, is notified in the same commit.
with bounded as materialized (
    select case
        when %(lock_wait)s::text is not null
        then set_config('lock_timeout', %(lock_wait)s::text, true)
    end as lock_timeout
)
insert into m25.job (
    attempt,
    order_number,
    id, queue_name, scheduled_at, input, timeout, max_attempts, retry_delay,
    unique_key, priority, meta, expires_at, own_retry, waiter, parent_id, lane,
    order_key
)
select
    1,
    case when %(order_key)s::text is not null then m25.next_order_number() end,
    %(id)s::uuid,
    %(queue_name)s::text,
    %(scheduled_at)s::timestamptz,
    %(input)s::jsonb,
    %(timeout)s::interval,
    %(max_attempts)s::integer,
    %(retry_delay)s::interval,
    %(unique_key)s::text,
    %(priority)s::smallint,
    %(meta)s::jsonb,
    %(expires_at)s::timestamptz,
    %(own_retry)s::boolean,
    %(waiter)s::text,
    %(parent_id)s::uuid,
    %(lane)s::text,
    %(order_key)s::text
from bounded
on conflict do nothing
returning
    id::text,
    extract(epoch from created_at)::text as created_at,
    case when %(channel)s::text is not null then pg_notify(%(channel)s::text, '')::text end
        as notified;

-- enqueue_plain
--
-- Insert a new job that has none of the options, so that who uses none pays for none: `enqueue_one` without
-- the columns of options, and without a bound for waits.
-- Safe under concurrency: as `enqueue_one`. `channel`, if any, is notified in the same commit.
insert into m25.job (
    attempt,
    id, queue_name, input, timeout, max_attempts, retry_delay, priority
)
values (
    1,
    %(id)s::uuid,
    %(queue_name)s::text,
    %(input)s::jsonb,
    %(timeout)s::interval,
    %(max_attempts)s::integer,
    %(retry_delay)s::interval,
    %(priority)s::smallint
)
on conflict do nothing
returning
    id::text,
    extract(epoch from created_at)::text as created_at,
    case when %(channel)s::text is not null then pg_notify(%(channel)s::text, '')::text end
        as notified;

-- enqueue_unique
--
-- Insert new jobs, each of which takes a key, or follows the one that has it.
-- Safe under concurrency: the caller has locked the keys. A row whose id exists is skipped, and takes no
-- key. `channels` are notified in the same commit.
with wanted as (
    select
        id,
        coalesce(queue_name, (%(queue_name)s::text[])[1]) as queue_name,
        scheduled_at,
        coalesce(input, (%(input)s::jsonb[])[1]) as input,
        coalesce(timeout, (%(timeout)s::interval[])[1]) as timeout,
        coalesce(max_attempts, (%(max_attempts)s::integer[])[1]) as max_attempts,
        coalesce(retry_delay, (%(retry_delay)s::interval[])[1]) as retry_delay,
        unique_key,
        coalesce(priority, (%(priority)s::smallint[])[1]) as priority,
        meta,
        expires_at,
        own_retry,
        waiter,
        parent_id,
        lane,
        order_key,
        key,
        holding,
        within,
        follows,
        case when order_key is not null then m25.next_order_number() end as order_number
    from unnest(
        %(id)s::uuid[],
        %(queue_name)s::text[],
        %(scheduled_at)s::timestamptz[],
        %(input)s::jsonb[],
        %(timeout)s::interval[],
        %(max_attempts)s::integer[],
        %(retry_delay)s::interval[],
        %(unique_key)s::text[],
        %(priority)s::smallint[],
        %(meta)s::jsonb[],
        %(expires_at)s::timestamptz[],
        %(own_retry)s::boolean[],
        %(waiter)s::text[],
        %(parent_id)s::uuid[],
        %(lane)s::text[],
        %(order_key)s::text[],
        %(key)s::text[],
        %(holding)s::text[],
        %(within)s::interval[],
        %(follows)s::uuid[]
    ) as w (
        id, queue_name, scheduled_at, input, timeout, max_attempts, retry_delay,
        unique_key, priority, meta, expires_at, own_retry, waiter, parent_id, lane,
        order_key,
        key,
        holding,
        within,
        follows
    )
),
inserted as (
    insert into m25.job (
        attempt,
        has_begun,
        follows,
        order_number,
        id, queue_name, scheduled_at, input, timeout, max_attempts, retry_delay,
        unique_key, priority, meta, expires_at, own_retry, waiter, parent_id, lane,
        order_key
    )
    select
        1,
        false,
        follows,
        order_number,
        id, queue_name, scheduled_at, input, timeout, max_attempts, retry_delay,
        unique_key, priority, meta, expires_at, own_retry, waiter, parent_id, lane,
        order_key
    from wanted
    order by id
    on conflict do nothing
    returning id, created_at
),
taken as (
    update m25.held_key
    set
        job_id = wanted.id,
        holding = wanted.holding,
        until = now() + wanted.within
    from wanted
    join inserted on inserted.id = wanted.id
    where held_key.queue_name = wanted.queue_name and held_key.key = wanted.key
    returning held_key.job_id
)
select
    id::text,
    extract(epoch from created_at)::text as created_at,
    (select count(*) from taken) as taken,
    (select count(pg_notify(channel, '')) from unnest(%(channels)s::text[]) as channel) as notified
from inserted;

-- find_below
--
-- Find what a job has started, and what that has, down to the last, as far as `most` goes. Each job comes
-- as its latest attempt. Reads only; every floor is found by an index.
with recursive tree (job_id) as (
    select coalesce(original_attempt_id, id) from m25.job where id = %(id)s::uuid
    union
    select child.job_id
    from tree
    cross join lateral (
        select coalesce(original_attempt_id, id) as job_id
        from m25.job
        where parent_id = tree.job_id
        offset 0
    ) as child
),
below as materialized (
    -- The first is the job itself.
    select job_id from tree offset 1 limit %(most)s::bigint
),
latest as materialized (
    select (
        select attempt.id
        from (
            select first.id, first.attempt
            from m25.job as first
            where first.id = below.job_id
            union all
            select next.id, next.attempt
            from m25.job as next
            where next.original_attempt_id = below.job_id
        ) as attempt
        order by attempt.attempt desc
        limit 1
    ) as id
    from below
)
select
    id::text,
    coalesce(original_attempt_id, id)::text as job_id,
    queue_name,
    status,
    attempt,
    max_attempts,
    losses,
    priority,
    extract(epoch from created_at)::text as created_at,
    extract(
        epoch from case
            when was_due_at is not null and run_at > '8000-01-01Z' then was_due_at
            else run_at
        end
    )::text as run_at,
    extract(epoch from started_at)::text as started_at,
    extract(epoch from coalesce(finished_at, cancelled_at))::text as ended_at,
    failure_reason,
    left(
        coalesce(
            left(crash_type, 300) || coalesce(': ' || left(crash_message, 300), ''),
            error_data::text,
            case when cancelled_at is not null then cancel_reason end
        ),
        300
    ) as error,
    left(input::text, 300) as input,
    unique_key,
    parent_id::text,
    cancel_requested_at is not null and finished_at is null and cancelled_at is null as is_to_cancel
from m25.job
where id = any(array(select id from latest));

-- find_cancel_requests
--
-- Of claims, those that are still held and whose cancel somebody has asked for. Reads only.
with wanted as (
    select * from unnest(%(id)s::uuid[], %(claim_token)s::uuid[]) as w (id, claim_token)
)
select job.id::text, job.cancelled_by, job.cancel_reason
from m25.job
join wanted
    on wanted.id = job.id
    and wanted.claim_token = job.claim_token
where job.id = any(%(id)s::uuid[])
    and job.status in ('reserved', 'executing')
    and job.cancel_requested_at is not null;

-- find_distributed
--
-- The tables of the schema that Citus has in its care: most statements here are refused on such. Asked
-- only where the catalog of Citus is there.
-- Safe under concurrency: reads only.
select pg_catalog.format('%%I.%%I', nspname, relname) as "table"
from pg_catalog.pg_dist_partition
join pg_catalog.pg_class on pg_class.oid operator(pg_catalog.=) logicalrelid
join pg_catalog.pg_namespace on pg_namespace.oid operator(pg_catalog.=) relnamespace
where nspname operator(pg_catalog.=) %(schema)s::pg_catalog.text
order by relname;

-- find_existing
--
-- Which jobs that were to be inserted are there by their id: by their position among those asked for,
-- counted from 1, and with the columns in which each differs from what was asked. Reads only.
select
    position,
    array_remove(
        array[
            case when queue_name is distinct from wanted_queue_name then 'queue_name' end,
            case when scheduled_at is distinct from wanted_scheduled_at then 'scheduled_at' end,
            case when input is distinct from wanted_input then 'input' end,
            case when timeout is distinct from wanted_timeout then 'timeout' end,
            case when max_attempts is distinct from wanted_max_attempts then 'max_attempts' end,
            case when retry_delay is distinct from wanted_retry_delay then 'retry_delay' end,
            case when unique_key is distinct from wanted_unique_key then 'unique_key' end,
            case when priority is distinct from wanted_priority then 'priority' end,
            case when meta is distinct from wanted_meta then 'meta' end,
            case when expires_at is distinct from wanted_expires_at then 'expires_at' end,
            case when parent_id is distinct from wanted_parent_id then 'parent_id' end
        ],
        null
    ) as differs,
    id::text,
    queue_name,
    extract(epoch from created_at)::text as created_at,
    extract(epoch from scheduled_at)::text as scheduled_at,
    input::text,
    extract(epoch from reserved_at)::text as reserved_at,
    extract(epoch from started_at)::text as started_at,
    extract(epoch from cancelled_at)::text as cancelled_at,
    extract(epoch from finished_at)::text as finished_at,
    extract(epoch from timeout)::text as timeout,
    status,
    output::text,
    extract(epoch from deadline)::text as deadline,
    extract(epoch from latest_heartbeat_at)::text as latest_heartbeat_at,
    failure_reason,
    error_data::text,
    attempt,
    max_attempts,
    original_attempt_id::text,
    previous_attempt_id::text,
    extract(epoch from retry_delay)::text as retry_delay,
    unique_key,
    priority,
    losses,
    crash_type,
    crash_message,
    crash_traceback,
    meta::text,
    extract(epoch from expires_at)::text as expires_at,
    own_retry,
    extract(epoch from cancel_requested_at)::text as cancel_requested_at,
    cancelled_by,
    cancel_reason,
    setup_failures,
    progress::text,
    waiter,
    parent_id::text,
    has_children,
    has_begun,
    follows::text,
    extract(epoch from unknown_since)::text as unknown_since,
    session_losses,
    lane,
    order_key,
    extract(epoch from was_due_at)::text as was_due_at
from (
    select
        wanted_id,
        coalesce(wanted_queue_name, (%(queue_name)s::text[])[1]) as wanted_queue_name,
        wanted_scheduled_at,
        coalesce(wanted_input, (%(input)s::jsonb[])[1]) as wanted_input,
        coalesce(wanted_timeout, (%(timeout)s::interval[])[1]) as wanted_timeout,
        coalesce(wanted_max_attempts, (%(max_attempts)s::integer[])[1]) as wanted_max_attempts,
        coalesce(wanted_retry_delay, (%(retry_delay)s::interval[])[1]) as wanted_retry_delay,
        wanted_unique_key,
        coalesce(wanted_priority, (%(priority)s::smallint[])[1]) as wanted_priority,
        wanted_meta,
        wanted_expires_at,
        wanted_own_retry,
        wanted_waiter,
        wanted_parent_id,
        wanted_lane,
        wanted_order_key,
        position
    from unnest(
        %(id)s::uuid[],
        %(queue_name)s::text[],
        %(scheduled_at)s::timestamptz[],
        %(input)s::jsonb[],
        %(timeout)s::interval[],
        %(max_attempts)s::integer[],
        %(retry_delay)s::interval[],
        %(unique_key)s::text[],
        %(priority)s::smallint[],
        %(meta)s::jsonb[],
        %(expires_at)s::timestamptz[],
        %(own_retry)s::boolean[],
        %(waiter)s::text[],
        %(parent_id)s::uuid[],
        %(lane)s::text[],
        %(order_key)s::text[]
    ) with ordinality as w (
        wanted_id, wanted_queue_name, wanted_scheduled_at, wanted_input, wanted_timeout,
        wanted_max_attempts, wanted_retry_delay, wanted_unique_key, wanted_priority,
        wanted_meta, wanted_expires_at, wanted_own_retry, wanted_waiter,
        wanted_parent_id, wanted_lane, wanted_order_key,
        position
    )
) as wanted
join m25.job on job.id = wanted_id
where job.id = any(%(id)s::uuid[]);

-- find_jobs
--
-- Find jobs by what they are, in a part of a walk over the table. There always is one row: it says where
-- the walk has come to. Reads only. A job that changes meanwhile is found as it was, and one whose next
-- attempt is inserted meanwhile may be found in neither; whoever looks again finds it.
with bound as materialized (
    (
        select id
        from m25.job
        where id < %(after)s::uuid and %(source)s::text = 'all'
        order by id desc
        offset %(walk)s::bigint
        limit 1
    )
    union all
    (
        select id
        from m25.job
        where status in ('failed', 'cancelled')
            and id < %(after)s::uuid
            and %(source)s::text = 'unsuccessful'
        order by id desc
        offset %(walk)s::bigint
        limit 1
    )
),
found as (
    select id, status
    from m25.job
    where id < %(after)s::uuid
        and id >= coalesce((select id from bound), '00000000-0000-0000-0000-000000000000')
        and %(source)s::text = 'all'
        and (%(queue_name)s::text is null or queue_name = %(queue_name)s::text)
        and (%(statuses)s::text[] is null or status = any(%(statuses)s::text[]))
        and (%(since)s::timestamptz is null or created_at >= %(since)s::timestamptz)
        and (
            %(ended_before)s::timestamptz is null
            or coalesce(finished_at, cancelled_at) < %(ended_before)s::timestamptz
        )
        and (
            status not in ('failed', 'cancelled')
            or (
                select true
                from m25.job as next
                where next.original_attempt_id = coalesce(job.original_attempt_id, job.id)
                    and next.attempt > job.attempt
                limit 1
            ) is null
        )
        and (%(where)s::jsonb is null or input @> %(where)s::jsonb)
    union all
    select id, status
    from m25.job
    where status in ('failed', 'cancelled')
        and id < %(after)s::uuid
        and id >= coalesce((select id from bound), '00000000-0000-0000-0000-000000000000')
        and %(source)s::text = 'unsuccessful'
        and (%(queue_name)s::text is null or queue_name = %(queue_name)s::text)
        and (%(statuses)s::text[] is null or status = any(%(statuses)s::text[]))
        and (%(since)s::timestamptz is null or created_at >= %(since)s::timestamptz)
        and (
            %(ended_before)s::timestamptz is null
            or coalesce(finished_at, cancelled_at) < %(ended_before)s::timestamptz
        )
        and (
            status not in ('failed', 'cancelled')
            or (
                select true
                from m25.job as next
                where next.original_attempt_id = coalesce(job.original_attempt_id, job.id)
                    and next.attempt > job.attempt
                limit 1
            ) is null
        )
        and (%(where)s::jsonb is null or input @> %(where)s::jsonb)
    union all
    select id, status
    from m25.job
    where status = 'pending'
        and queue_name >= coalesce(%(queue_name)s::text, '')
        and id < %(after)s::uuid
        and %(source)s::text = 'unended'
        and 'pending' = any(%(statuses)s::text[])
        and (%(queue_name)s::text is null or queue_name = %(queue_name)s::text)
        and (%(statuses)s::text[] is null or status = any(%(statuses)s::text[]))
        and (%(since)s::timestamptz is null or created_at >= %(since)s::timestamptz)
        and (
            %(ended_before)s::timestamptz is null
            or coalesce(finished_at, cancelled_at) < %(ended_before)s::timestamptz
        )
        and (
            status not in ('failed', 'cancelled')
            or (
                select true
                from m25.job as next
                where next.original_attempt_id = coalesce(job.original_attempt_id, job.id)
                    and next.attempt > job.attempt
                limit 1
            ) is null
        )
        and (%(where)s::jsonb is null or input @> %(where)s::jsonb)
    union all
    select id, status
    from m25.job
    where reserved_at is not null
        and finished_at is null
        and cancelled_at is null
        and queue_name >= coalesce(%(queue_name)s::text, '')
        and id < %(after)s::uuid
        and %(source)s::text = 'unended'
        and array['reserved', 'executing'] && %(statuses)s::text[]
        and (%(queue_name)s::text is null or queue_name = %(queue_name)s::text)
        and (%(statuses)s::text[] is null or status = any(%(statuses)s::text[]))
        and (%(since)s::timestamptz is null or created_at >= %(since)s::timestamptz)
        and (
            %(ended_before)s::timestamptz is null
            or coalesce(finished_at, cancelled_at) < %(ended_before)s::timestamptz
        )
        and (
            status not in ('failed', 'cancelled')
            or (
                select true
                from m25.job as next
                where next.original_attempt_id = coalesce(job.original_attempt_id, job.id)
                    and next.attempt > job.attempt
                limit 1
            ) is null
        )
        and (%(where)s::jsonb is null or input @> %(where)s::jsonb)
),
chosen as materialized (
    select id from found order by id desc limit %(limit)s::bigint
)
select
    bound.id::text as bound_id,
    (
        select extract(epoch from created_at)::text from m25.job where job.id = bound.id
    ) as bound_created_at,
    job.id, job.job_id, job.queue_name, job.status, job.attempt, job.max_attempts, job.losses,
    job.priority, job.created_at, job.run_at, job.started_at, job.ended_at,
    job.failure_reason, job.error, job.input, job.unique_key, job.parent_id, job.is_to_cancel
from (values (true)) as always (is_there)
left join bound on true
left join lateral (
    select
        id::text,
        coalesce(original_attempt_id, id)::text as job_id,
        queue_name,
        status,
        attempt,
        max_attempts,
        losses,
        priority,
        extract(epoch from created_at)::text as created_at,
        extract(
            epoch from case
                when was_due_at is not null and run_at > '8000-01-01Z' then was_due_at
                else run_at
            end
        )::text as run_at,
        extract(epoch from started_at)::text as started_at,
        extract(epoch from coalesce(finished_at, cancelled_at))::text as ended_at,
        failure_reason,
        left(
            coalesce(
                left(crash_type, 300) || coalesce(': ' || left(crash_message, 300), ''),
                error_data::text,
                case when cancelled_at is not null then cancel_reason end
            ),
            300
        ) as error,
        left(input::text, 300) as input,
        unique_key,
        parent_id::text,
        cancel_requested_at is not null and finished_at is null and cancelled_at is null as is_to_cancel
    from m25.job
    where id = any(array(select id from chosen))
    offset 0
) as job on true
order by job.id desc;

-- find_kept
--
-- What became of steps that `keep_steps` did not keep: each was there already; or its attempt is still
-- executing under the claim's token, and so was locked by somebody; or the claim is fenced. Reads only.
with wanted as (
    select *
    from unnest(
        %(id)s::uuid[],
        %(claim_token)s::uuid[],
        %(job_id)s::uuid[],
        %(kind)s::text[],
        %(name)s::text[],
        %(key)s::text[],
        %(fingerprint)s::text[],
        %(until_in)s::interval[],
        %(output)s::jsonb[]
    ) with ordinality as w (
        id, claim_token, job_id, kind, name, key, fingerprint, until_in, output, number
    )
),
held as (
    select id, claim_token
    from m25.job
    where id = any(%(id)s::uuid[]) and status = 'executing'
),
kept as (
    select job_id, kind,
    name,
    key,
    fingerprint,
    extract(epoch from until)::text as until,
    extract(epoch from until - now())::float8 as seconds_left,
    output::text
    from m25.step
    where job_id = any(%(job_id)s::uuid[])
)
select
    wanted.number,
    held.id is null as is_fenced,
    kept.job_id is not null as is_kept,
    kept.kind,
    kept.name,
    kept.key,
    kept.fingerprint,
    kept.until,
    kept.seconds_left,
    kept.output
from wanted
left join held on held.id = wanted.id and held.claim_token = wanted.claim_token
left join kept using (job_id, kind, name, key);

-- find_key_holders
--
-- Which job holds each unique key. Reads only.
select unique_key, id::text
from m25.job
where unique_key = any(%(unique_key)s::text[])
    and unique_key is not null
    and status not in ('failed', 'cancelled');

-- find_key_takers
--
-- How the jobs stand that were the last to take these keys: by the key's position among those asked for,
-- counted from 1, the job's latest attempt, and whether the job still holds the key. Without a row the job
-- was deleted.
-- Reads only. The caller has locked the keys by an earlier statement of the transaction, so this one sees
-- whatever was put before. A job that is seen to have begun, or to have ended, will never be pending, or
-- live, again; what else it is may have changed by the time that the caller writes, and is checked then.
with taker as materialized (
    select
        wanted.number,
        held_key.job_id,
        held_key.holding,
        held_key.until,
        (
            select attempt.id
            from (
                select first.id, first.attempt
                from m25.job as first
                where first.id = held_key.job_id
                union all
                select next.id, next.attempt
                from m25.job as next
                where next.original_attempt_id = held_key.job_id
            ) as attempt
            order by attempt.attempt desc
            limit 1
        ) as latest_id
    from unnest(
        %(queue_name)s::text[], %(key)s::text[]
    ) with ordinality as wanted (queue_name, key, number)
    join m25.held_key
        on held_key.queue_name = wanted.queue_name and held_key.key = wanted.key
)
select
    taker.number,
    taker.job_id::text as taker_id,
    case taker.holding
        when 'pending' then coalesce(status = 'pending' and not has_begun, false)
        when 'live' then coalesce(status in ('pending', 'reserved', 'executing'), false)
        when 'within' then taker.until > now()
        else true
    end as is_held,
    id::text,
    queue_name,
    extract(epoch from created_at)::text as created_at,
    extract(epoch from scheduled_at)::text as scheduled_at,
    input::text,
    extract(epoch from reserved_at)::text as reserved_at,
    extract(epoch from started_at)::text as started_at,
    extract(epoch from cancelled_at)::text as cancelled_at,
    extract(epoch from finished_at)::text as finished_at,
    extract(epoch from timeout)::text as timeout,
    status,
    output::text,
    extract(epoch from deadline)::text as deadline,
    extract(epoch from latest_heartbeat_at)::text as latest_heartbeat_at,
    failure_reason,
    error_data::text,
    attempt,
    max_attempts,
    original_attempt_id::text,
    previous_attempt_id::text,
    extract(epoch from retry_delay)::text as retry_delay,
    unique_key,
    priority,
    losses,
    crash_type,
    crash_message,
    crash_traceback,
    meta::text,
    extract(epoch from expires_at)::text as expires_at,
    own_retry,
    extract(epoch from cancel_requested_at)::text as cancel_requested_at,
    cancelled_by,
    cancel_reason,
    setup_failures,
    progress::text,
    waiter,
    parent_id::text,
    has_children,
    has_begun,
    follows::text,
    extract(epoch from unknown_since)::text as unknown_since,
    session_losses,
    lane,
    order_key,
    extract(epoch from was_due_at)::text as was_due_at
from taker
left join lateral (
    select
        id, queue_name, created_at, scheduled_at, input, reserved_at, started_at,
        cancelled_at, finished_at, timeout, status, output, deadline,
        latest_heartbeat_at, failure_reason, error_data, attempt, max_attempts,
        original_attempt_id, previous_attempt_id, retry_delay, unique_key, priority,
        losses, crash_type, crash_message, crash_traceback, meta, expires_at, own_retry,
        cancel_requested_at, cancelled_by, cancel_reason, setup_failures, progress,
        waiter, parent_id, has_children, has_begun, follows, unknown_since,
        session_losses, lane, order_key, was_due_at
    from m25.job
    where job.id = taker.latest_id
    offset 0
) as job on true;

-- find_locked
--
-- Of claims whose rows a call did not write, those that were locked by somebody: the row is still live
-- under the claim's token; or pending, where `or_pending` is true. Nobody may have it locked any more
-- by now: the call is to be repeated for it either way. The others are fenced. Reads only.
with wanted as (
    select * from unnest(%(id)s::uuid[], %(claim_token)s::uuid[]) as w (id, claim_token)
)
select job.id::text
from m25.job
join wanted on wanted.id = job.id
where job.id = any(%(id)s::uuid[])
    and (
        job.status in ('reserved', 'executing')
        and job.claim_token = wanted.claim_token
        or job.status = 'pending' and job.has_begun is not false and %(or_pending)s::boolean
    );

-- find_lost_holders
--
-- Places that are held outside of jobs, of whatever limits, and that nobody may be looking after, at most
-- `limit`: those whose lease is over, or less than half of it is left, which is never so with one that is
-- renewed in time. Reads only, and proves nothing, as find_suspects.sql does; whoever
-- asks waits for another look at the same lease. There are no more rows than places are held.
select
    limiter,
    id::text,
    extract(epoch from lease_expires_at)::text as lease_expires_at,
    lease_expires_at < now() as is_expired,
    extract(epoch from lease)::float8 as length
from m25.limit_holder
where limiter is not null
    and lease_expires_at < now() + lease / 2
order by lease_expires_at
limit %(limit)s::bigint;

-- find_schedules
--
-- Read schedules, all or those of some names, with the time it is for the database. Nothing is
-- changed or locked. Where there are none, one row has the time alone.
select
    extract(epoch from clock.now)::text as now,
    schedule.name,
    schedule.revision,
    schedule.queue_name,
    schedule.expression,
    extract(epoch from schedule.every)::text as every,
    schedule.timezone,
    schedule.catch_up,
    schedule.overlap,
    extract(epoch from schedule.declared_at)::text as declared_at,
    extract(epoch from schedule.paused_at)::text as paused_at,
    extract(epoch from schedule.last_tick)::text as last_tick,
    schedule.last_job_id::text
from (select now()) as clock (now)
left join m25.schedule
    on %(name)s::text[] is null or schedule.name = any(%(name)s::text[])
order by schedule.name;

-- find_settled
--
-- What became of attempts that `settle` did not write: an earlier call had ended the row under the
-- same claim token, and its answer was lost; or the row is still executing under that token, and so
-- was locked by somebody; or the claim is fenced. Reads only.
with wanted as (
    select * from unnest(%(id)s::uuid[], %(claim_token)s::uuid[]) as w (id, claim_token)
),
found as (
    select id, claim_token, finished_at, status
    from m25.job
    where id = any(%(id)s::uuid[])
)
select
    wanted.id::text,
    case
        when found.claim_token is distinct from wanted.claim_token then 'fenced'
        when found.finished_at is not null then 'repeated'
        when found.status = 'executing' then 'locked'
        else 'fenced'
    end as result
from wanted
left join found on found.id = wanted.id;

-- find_stack
--
-- What has become of a request for a job's stack. Reads only.
select
    status,
    extract(epoch from stack_asked_at)::text as asked_at,
    stack
from m25.job
where id = %(id)s::uuid;

-- find_steps
--
-- Read what handlers have done once, of several jobs, each by the id of its first attempt. Reads only.
select
    job_id::text,
    kind,
    name,
    key,
    fingerprint,
    extract(epoch from until)::text as until,
    extract(epoch from until - now())::float8 as seconds_left,
    output::text
from m25.step
where job_id = any(%(job_id)s::uuid[])
order by job_id, created_at;

-- find_suspects
--
-- Live jobs that nobody may be looking after, at most `limit`: those whose lease is over or will be
-- within `margin`, and those of workers whose sessions are all gone. Of rows that the original's
-- workers claimed, which know no leases, those that are dead already: `is_dead` in _lifecycle.py.
-- Reads only, and proves nothing: a server that stood still, or a clock that was set, makes every
-- lease look over. Whoever asks waits for a second look at the same lease before it sweeps.
-- A role may not see when the sessions of others began: such a session is taken for the worker's.
with queue as (
    select *
    from unnest(
        %(queue_name)s::text[], %(margin)s::interval[], %(reserved_timeout)s::interval[]
    ) as q (name, margin, reserved_timeout)
),
gone as materialized (
    select
        left(worker.id::text, 18) as prefix,
        extract(epoch from worker.latest_heartbeat_at)::text as heard_at
    from m25.worker
    where worker.session_pids <> array[]::integer[]
        and not exists (
            select
            from pg_catalog.pg_stat_activity as activity
            where activity.pid = any(worker.session_pids)
                and (
                    activity.backend_start is null
                    or activity.backend_start = any(worker.session_starts)
                )
        )
)
select
    job.queue_name,
    job.id::text,
    job.claim_token::text,
    extract(epoch from job.lease_expires_at)::text as lease_expires_at,
    job.claim_token is null or job.lease_expires_at < now() as is_expired,
    job.claim_token is not null
        and exists (select from gone where prefix = left(job.claim_token::text, 18))
        as is_abandoned,
    -- Of what has no length, such as between two infinities, it is zero.
    coalesce(
        nullif(
            extract(epoch from job.lease_expires_at)
                - extract(
                    epoch from greatest(job.reserved_at, job.started_at, job.latest_heartbeat_at)
                ),
            'NaN'
        ),
        0
    )::float8 as length,
    case when job.has_children then coalesce(job.original_attempt_id, job.id)::text end as children_of,
    (select max(heard_at) from gone where prefix = left(job.claim_token::text, 18)) as heard_at
from queue
join m25.job on job.queue_name = queue.name
where job.queue_name = any(%(queue_name)s::text[])
    and job.reserved_at is not null
    and job.finished_at is null
    and job.cancelled_at is null
    and case
        when job.claim_token is not null
        then job.lease_expires_at < now() + queue.margin
            or left(job.claim_token::text, 18) in (select prefix from gone)
        when job.status = 'executing' then job.deadline < now()
        else job.reserved_at < now() - queue.reserved_timeout
    end
limit %(limit)s::bigint;

-- find_unserved
--
-- Queues that nobody serves: their jobs have been due for longer than `waiting`, none of them runs,
-- and no live worker names the queue. With each, for how many seconds the oldest has been due, and how
-- many workers are live: have announced themselves within `silence`, and not ended. Queues that the
-- original's workers serve have jobs that run, and are not found while these keep up.
-- Reads only: the workers once, and a few index probes for each queue that has pending jobs, of which
-- the first ten thousand are looked at.
with recursive live as materialized (
    select queues from m25.worker
    where ended_at is null and latest_heartbeat_at > now() - %(silence)s::interval
),
served as materialized (
    select distinct unnest(queues) as name from live
),
pending (name, number) as (
    (
        select queue_name, 1 from m25.job
        where status = 'pending' and queue_name >= ''
        order by queue_name limit 1
    )
    union all
    select (
        select queue_name from m25.job
        where status = 'pending' and queue_name > pending.name
        order by queue_name limit 1
    ), number + 1
    from pending
    where name is not null and number < 10000
)
select
    known.name as queue_name,
    least(extract(epoch from now()) - extract(epoch from oldest.run_at), 1e9)::float8 as seconds,
    (select count(*) from live) as workers
from pending as known
cross join lateral (
    with recursive level (priority) as (
        (
            select priority from m25.job
            where queue_name = known.name and status = 'pending'
            order by priority limit 1
        )
        union all
        select (
            select job.priority from m25.job
            where queue_name = known.name and status = 'pending' and job.priority > level.priority
            order by job.priority limit 1
        )
        from level
        where level.priority is not null
    )
    select min(first.run_at) as run_at
    from level
    cross join lateral (
        select run_at from m25.job
        where queue_name = known.name and status = 'pending' and job.priority = level.priority
        order by run_at
        limit 1
    ) as first
) as oldest
where known.name is not null
    and not exists (select from served where served.name = known.name)
    and oldest.run_at < now() - %(waiting)s::interval
    -- With a limit it stays a probe for each queue: without, it would be joined, by a walk over all
    -- live rows.
    and (
        select true from m25.job
        where queue_name = known.name
            and reserved_at is not null
            and finished_at is null
            and cancelled_at is null
        limit 1
    ) is null;

-- find_wait
--
-- What a pending job may wait for, if it is one: its queue's pause and workers, a message, the job that it
-- follows, those before it in its order, and how its limit and its rate stand for its key.
-- Reads only, and no more rows than one claim does: what runs under the limit are the live rows themselves,
-- by their keys (room.sql).
with this as materialized (
    select job.*, was_due_at is not null
        and reserved_at is null
        and cancelled_at is null
        and scheduled_at > timestamptz '8000-01-01 00:00:00+00' as is_held_up
    from m25.job
    where id = %(id)s::uuid and status = 'pending'
),
facts as materialized (
    select
        this.*,
        queue.paused_at,
        queue.pause_reason,
        queue.limiter,
        queue.order_path,
        queue.limit_path,
        queue.rate_path,
        queue.cost_path,
        case
            when coalesce(queue.limit_path, queue.rate_path) is not null
            then left(coalesce(this.input #>> coalesce(queue.limit_path, queue.rate_path), ''), 200)
        end as key,
        coalesce(limiter.set_to, limiter.declared) as size,
        limiter.rate_interval,
        limiter.next_start_at
    from this
    left join m25.queue on queue.name = this.queue_name
    left join m25.limiter on limiter.name = queue.limiter
)
select
    extract(epoch from facts.run_at)::text as due_at,
    facts.run_at <= now() as is_due,
    facts.paused_at is not null as is_paused,
    facts.pause_reason,
    (
        select count(*)
        from m25.worker
        where ended_at is null
            and latest_heartbeat_at > now() - %(silence)s::interval
            and facts.queue_name = any(queues)
    ) as workers,
    facts.setup_failures,
    facts.awaits,
    (
        -- Two probes: one with an `or` would be a walk over all rows.
        select first.id::text
        from m25.job as first
        where first.id = facts.follows
            and first.finished_at is null
            and first.cancelled_at is null
        union all
        select next.original_attempt_id::text
        from m25.job as next
        where next.original_attempt_id = facts.follows
            and next.finished_at is null
            and next.cancelled_at is null
        limit 1
    ) as follows,
    case when facts.order_path is not null then facts.order_key end as order_key,
    stopped.job_id::text as failed_before,
    before.job_id as before,
    facts.is_held_up,
    facts.limiter,
    facts.key,
    facts.size,
    case
        when facts.size is not null
        then (
            select count(distinct coalesce(job.place, job.id))
            from m25.queue
            join m25.job on job.queue_name = queue.name
            where queue.limiter = facts.limiter
                and job.queue_name = any(
                    array(select name from m25.queue where limiter = facts.limiter)
                )
                and job.reserved_at is not null
                and job.finished_at is null
                and job.cancelled_at is null
                and (
                    facts.limit_path is null
                    or left(coalesce(job.input #>> queue.limit_path, ''), 200) = facts.key
                )
        )
    end as running,
    (
        select count(*)
        from m25.limit_holder
        where limit_holder.limiter = facts.limiter
            and (facts.limit_path is null or limit_holder.key = facts.key)
    ) as held,
    extract(
        epoch from case
            when facts.rate_interval is null then null
            when facts.rate_path is null and facts.cost_path is null
            then case when facts.next_start_at > now() then facts.next_start_at end
            else (
                select rate_clock.next_start_at
                from m25.rate_clock
                where rate_clock.limiter = facts.limiter
                    and rate_clock.key = coalesce(facts.key, '')
                    and rate_clock.next_start_at > now()
            )
        end
    )::text as next_start_at
from facts
left join lateral (
    select job_id
    from m25.stopped_key
    where facts.order_path is not null
        and stopped_key.queue_name = facts.queue_name
        and stopped_key.order_key = facts.order_key
        and stopped_key.order_number < facts.order_number
    order by stopped_key.order_number
    limit 1
) as stopped on true
left join lateral (
    select coalesce(original_attempt_id, id)::text as job_id
    from m25.job
    where facts.order_path is not null
        and queue_name = facts.queue_name
        and order_number is not null
            and finished_at is null
            and cancelled_at is null
        and order_key = facts.order_key
        and order_number < facts.order_number
    order by order_number
    limit 1
) as before on true;

-- forget_stack
--
-- Forget a request for a job's stack, and the answer. A later request, which somebody else waits for,
-- is left as it is. Safe under concurrency: the condition is checked again on the row once it is locked,
-- and whoever has locked it is waited for as long as is said.
with bounded as materialized (
    select case
        when %(lock_wait)s::text is not null
        then set_config('lock_timeout', %(lock_wait)s::text, true)
    end as lock_timeout
)
update m25.job
set stack_asked_at = null, stack = null
from bounded
where id = %(id)s::uuid
    and extract(epoch from stack_asked_at)::text = %(asked_at)s::text
returning id::text;

-- get
--
-- Read jobs by id. Times come as seconds since the epoch and JSON as text, so that a value Python
-- cannot hold is the reader's problem and not the whole batch's.
select
    id::text,
    queue_name,
    extract(epoch from created_at)::text as created_at,
    extract(epoch from scheduled_at)::text as scheduled_at,
    input::text,
    extract(epoch from reserved_at)::text as reserved_at,
    extract(epoch from started_at)::text as started_at,
    extract(epoch from cancelled_at)::text as cancelled_at,
    extract(epoch from finished_at)::text as finished_at,
    extract(epoch from timeout)::text as timeout,
    status,
    output::text,
    extract(epoch from deadline)::text as deadline,
    extract(epoch from latest_heartbeat_at)::text as latest_heartbeat_at,
    failure_reason,
    error_data::text,
    attempt,
    max_attempts,
    original_attempt_id::text,
    previous_attempt_id::text,
    extract(epoch from retry_delay)::text as retry_delay,
    unique_key,
    priority,
    losses,
    crash_type,
    crash_message,
    crash_traceback,
    meta::text,
    extract(epoch from expires_at)::text as expires_at,
    own_retry,
    extract(epoch from cancel_requested_at)::text as cancel_requested_at,
    cancelled_by,
    cancel_reason,
    setup_failures,
    progress::text,
    waiter,
    parent_id::text,
    has_children,
    has_begun,
    follows::text,
    extract(epoch from unknown_since)::text as unknown_since,
    session_losses,
    lane,
    order_key,
    extract(epoch from was_due_at)::text as was_due_at
from m25.job
where id = any(%(id)s::uuid[]);

-- heartbeat
--
-- Record the heartbeats of claimed jobs and renew their leases; the ids that come back are still
-- held by their claims, each with whether somebody has asked for its cancel, or for its stack.
-- Safe under concurrency: a row that somebody else has locked keeps none of the others waiting; it is
-- not written and not returned, as one that has another token or is no longer live. A reserved row's
-- lease never outlasts `reserved_timeout`, however long its executor goes on initialising. A lease
-- begins when its row is locked, and not with the transaction: of two heartbeats of one claim, one may
-- have been sent long before the other and be written after it, and must not make the lease shorter.
with wanted as (
    select * from unnest(%(id)s::uuid[], %(claim_token)s::uuid[]) as w (id, claim_token)
),
held as materialized (
    select job.id
    from m25.job
    join wanted
        on wanted.id = job.id
        and wanted.claim_token = job.claim_token
    where job.id = any(%(id)s::uuid[])
        and job.status in ('reserved', 'executing')
    order by job.id
    for no key update of job skip locked
)
update m25.job
set
    latest_heartbeat_at = now(),
    lease_expires_at = case
        when status = 'reserved'
        then least(
            clock_timestamp() + %(lease)s::interval, reserved_at + %(reserved_timeout)s::interval
        )
        else clock_timestamp() + %(lease)s::interval
    end
where id = any(array(select id from held))
returning
    id::text,
    cancel_requested_at is not null as to_cancel,
    stack_asked_at is not null and stack is null as is_stack_asked;

-- hold_rate
--
-- Put clocks of a rate off: of each key no job begins before its delay is over. A clock that says later
-- already stays as it is.
-- Safe under concurrency: the limiter is locked by this transaction, as by all who read or write its clocks.
with wanted as (
    select key, max(delay) as delay
    from unnest(%(key)s::text[], %(delay)s::interval[]) as w (key, delay)
    group by key
),
rate as (
    select name from m25.limiter where name = %(limiter)s::text and rate_interval is not null
),
clock as (
    insert into m25.rate_clock (limiter, key, next_start_at)
    select rate.name, wanted.key, now() + wanted.delay
    from rate
    cross join wanted
    where %(reads_inputs)s::boolean
    order by wanted.key
    on conflict (limiter, key) do update

    set next_start_at = greatest(rate_clock.next_start_at, excluded.next_start_at)
)
update m25.limiter

set next_start_at = greatest(limiter.next_start_at, now() + (select max(delay) from wanted))
from rate
where limiter.name = rate.name
    and not %(reads_inputs)s::boolean
returning limiter.name;

-- holds_others
--
-- Whether a job has failed for good, and its key stands still for it: a row comes back, or none. Where a queue
-- has no order any more, nothing waits for it. Reads only.
select job_id
from m25.stopped_key
join m25.queue on queue.name = stopped_key.queue_name
where job_id = %(id)s::uuid
    and queue.order_path is not null;

-- keep_steps
--
-- Keep what handlers have done once, under their jobs, so that no later attempt does it again.
-- Safe under concurrency: the row of each attempt is locked first, and must be executing under the
-- claim's own token; so a worker that lost its claim keeps nothing, and no attempt ends while its step
-- is being kept. A next attempt is there only once the one before it has ended: no two of a job keep
-- steps at the same time, and no insert waits for another at the index. A row that somebody else has
-- locked is left out, and keeps none of the others waiting. A repeat after a lost answer finds the step
-- there, and changes nothing. What comes back was kept by this very statement; of the others
-- find_kept.sql tells.
with wanted as (
    select *
    from unnest(
        %(id)s::uuid[],
        %(claim_token)s::uuid[],
        %(job_id)s::uuid[],
        %(kind)s::text[],
        %(name)s::text[],
        %(key)s::text[],
        %(fingerprint)s::text[],
        %(until_in)s::interval[],
        %(output)s::jsonb[]
    ) with ordinality as w (
        id, claim_token, job_id, kind, name, key, fingerprint, until_in, output, number
    )
),
held as materialized (
    select claim.id, claim.claim_token
    from m25.job
    join (select distinct id, claim_token from wanted) as claim
        on claim.id = job.id
        and claim.claim_token = job.claim_token
    where job.id = any(%(id)s::uuid[])
        and job.status = 'executing'
    order by job.id
    for no key update of job skip locked
),
kept as (
    insert into m25.step (
        job_id, kind, name, key, attempt_id, fingerprint, until, output
    )
    select
        wanted.job_id,
        wanted.kind,
        wanted.name,
        wanted.key,
        wanted.id,
        wanted.fingerprint,
        -- Within what a timestamp can hold, as a deadline is.
        case
            when wanted.until_in is not null
            then now() + make_interval(
                secs => greatest(least(extract(epoch from wanted.until_in), 31557600000), 0)::float8
            )
        end,
        wanted.output
    from wanted
    join held on held.id = wanted.id and held.claim_token = wanted.claim_token
    on conflict do nothing
    returning job_id, kind,
    name,
    key,
    fingerprint,
    extract(epoch from until)::text as until,
    extract(epoch from until - now())::float8 as seconds_left,
    output::text
)
select
    wanted.number,
    kept.kind,
    kept.name,
    kept.key,
    kept.fingerprint,
    kept.until,
    kept.seconds_left,
    kept.output
from kept
join wanted using (job_id, kind, name, key);

-- latest
--
-- Read the latest attempt of each chain, by the id that was asked. Reads only.
with latest as materialized (
    select asked.id as asked, attempt.id as latest_id
    from unnest(%(id)s::uuid[]) as asked (id)
    join m25.job as named on named.id = asked.id
    cross join lateral (
        select first.id, first.attempt
        from m25.job as first
        where first.id = coalesce(named.original_attempt_id, named.id)
        union all
        select next.id, next.attempt
        from m25.job as next
        where next.original_attempt_id = coalesce(named.original_attempt_id, named.id)
        order by attempt desc
        limit 1
    ) as attempt
    where named.id = any(%(id)s::uuid[])
)
select
    latest.asked::text as asked,
    id::text,
    queue_name,
    extract(epoch from created_at)::text as created_at,
    extract(epoch from scheduled_at)::text as scheduled_at,
    input::text,
    extract(epoch from reserved_at)::text as reserved_at,
    extract(epoch from started_at)::text as started_at,
    extract(epoch from cancelled_at)::text as cancelled_at,
    extract(epoch from finished_at)::text as finished_at,
    extract(epoch from timeout)::text as timeout,
    status,
    output::text,
    extract(epoch from deadline)::text as deadline,
    extract(epoch from latest_heartbeat_at)::text as latest_heartbeat_at,
    failure_reason,
    error_data::text,
    attempt,
    max_attempts,
    original_attempt_id::text,
    previous_attempt_id::text,
    extract(epoch from retry_delay)::text as retry_delay,
    unique_key,
    priority,
    losses,
    crash_type,
    crash_message,
    crash_traceback,
    meta::text,
    extract(epoch from expires_at)::text as expires_at,
    own_retry,
    extract(epoch from cancel_requested_at)::text as cancel_requested_at,
    cancelled_by,
    cancel_reason,
    setup_failures,
    progress::text,
    waiter,
    parent_id::text,
    has_children,
    has_begun,
    follows::text,
    extract(epoch from unknown_since)::text as unknown_since,
    session_losses,
    lane,
    order_key,
    extract(epoch from was_due_at)::text as was_due_at
from latest
join m25.job on job.id = latest.latest_id
where job.id = any(array(select latest_id from latest));

-- let_go
--
-- Let jobs of a queue go that are held up by a key which its limit or rate has no more: they are as they were
-- before that, and the next claims hold up those that must be. Of those that are held up, `walk` are looked at,
-- from a position on. Once a whole walk has found none, and claims that began before the key was changed
-- have ended, no more is looked for. There always is a row: it says how far the walk has come.
-- By a rate with a key, what is in no line is let go, too: no claim would come to look at it.
-- Safe under concurrency: what others have locked is left out, and what is no more held up once it is locked;
-- the next walk finds it. A claim holds jobs up and puts them in their line in one commit. What is let go though
-- it should not be is looked at by a claim once more.
with held_by as materialized (
    select coalesce(limit_path, rate_path) as path, rate_path
    from m25.queue
    where name = %(queue_name)s::text
),
walked as materialized (
    select
        id,
        limit_key,
        priority,
        was_due_at,
        held_by.path is null
            or left(coalesce(input #>> held_by.path, ''), 200) <> limit_key

            or held_by.rate_path is not null and not exists (
                select
                from m25.rate_line
                where queue_name = %(queue_name)s::text and rate_line.key = limit_key
                offset 0
            )
            as is_former
    from m25.job
    cross join held_by
    where queue_name = %(queue_name)s::text
        and was_due_at is not null
        and reserved_at is null
        and cancelled_at is null
        and (limit_key, priority, was_due_at, id) > (
            %(key)s::text,
            %(priority)s::smallint,
            %(was_due_at)s::timestamptz,
            %(id)s::uuid
        )
    order by limit_key, priority, was_due_at, id
    limit %(walk)s::bigint
),
former as materialized (
    select id
    from m25.job
    where id = any(array(select id from walked where is_former))
        and was_due_at is not null
            and reserved_at is null
            and cancelled_at is null
            and scheduled_at > timestamptz '8000-01-01 00:00:00+00'
    order by id
    for no key update skip locked
),
let_go as (
    update m25.job
    set
        scheduled_at = nullif(was_due_at, created_at),
        limit_key = null,
        was_due_at = null
    where id = any(array(select id from former))
    returning id
),
ended as (
    update m25.queue
    set keys_changed_at = null
    where name = %(queue_name)s::text
        and keys_changed_at < now() - interval '1 minute'
        and %(is_clean)s::boolean
        and (select count(*) from walked) < %(walk)s::bigint
        and not exists (select from walked where is_former)
)
select
    (select count(*) from let_go) as number,
    exists (select from walked where is_former) as found,
    last.limit_key,
    last.priority,
    last.was_due_at::text,
    last.id::text
from (select) as always
left join (
    select limit_key, priority, was_due_at, id
    from walked
    order by limit_key, priority, was_due_at, id
    offset %(walk)s::bigint - 1
    limit 1
) as last on true;

-- limit_states
--
-- The limits and rates under which queues run, or of which places are held outside of jobs, by name: what
-- each lets through, how many places are held, and what runs and waits under it, counted up to `most` of each queue. What runs are the live rows themselves, by their keys, as
-- a claim counts them (room.sql). What waits is due, or held up until others of its key have ended, or
-- until the rate lets its key begin, or claimed for the place of one that runs.
-- Reads only. Jobs are found by partial indexes, which know nothing of what has ended.
with under as materialized (
    select
        limiter,
        array_agg(name order by name) as queues,
        -- All queues under a limit count by a key, or none does.
        (array_agg(array_to_string(limit_path, '.') order by name))[1] as key,
        (array_agg(array_to_string(rate_path, '.') order by name))[1] as rate_key
    from m25.queue
    where limiter is not null
    group by limiter
),
live as materialized (
    select
        queue.limiter,
        left(coalesce(job.input #>> queue.limit_path, ''), 200) as key,
        count(distinct coalesce(job.place, job.id)) as number,
        count(*) as jobs
    from m25.queue
    join m25.job on job.queue_name = queue.name
    where queue.limiter is not null
        and job.queue_name = any(
            array(select name from m25.queue where limiter is not null)
        )
        and job.reserved_at is not null
        and job.finished_at is null
        and job.cancelled_at is null
    group by 1, 2
),
outside as materialized (
    select limiter, key, count(*) as number
    from m25.limit_holder
    where limiter is not null
    group by limiter, key
),
taken as materialized (
    select
        each.limiter,
        sum(each.running)::bigint as running,
        sum(each.held)::bigint as held,
        sum(each.behind)::bigint as behind,
        (
            array_agg(each.key order by each.key)
            filter (
                where limiter.has_key
                    and each.running + each.held >= coalesce(limiter.set_to, limiter.declared)
            )
        ) as full_keys
    from (
        select
            limiter,
            key,
            coalesce(live.number, 0) as running,
            coalesce(outside.number, 0) as held,
            coalesce(live.jobs - live.number, 0) as behind
        from live
        full join outside using (limiter, key)
    ) as each
    join (
        select
            limiter.*,
            case
                when under.limiter is null then limiter.held_path is not null
                else under.key is not null
            end as has_key
        from m25.limiter
        left join under on under.limiter = limiter.name
    ) as limiter on limiter.name = each.limiter
    group by each.limiter
)
select
    limiter.name,
    coalesce(under.queues, '{}') as queues,
    case
        when under.limiter is null then array_to_string(limiter.held_path, '.')
        else under.key
    end as key,
    coalesce(limiter.set_to, limiter.declared) as size,
    limiter.set_to is not null as is_set,
    limiter.rate_interval::text,
    limiter.rate_burst,
    under.rate_key,
    case
        when under.rate_key is null then extract(epoch from limiter.next_start_at)::text
    end as next_start_at,
    coalesce(taken.running, 0) as running,
    coalesce(taken.held, 0) as held,
    coalesce(waits.number, 0) + coalesce(taken.behind, 0) as waiting,
    coalesce(cardinality(taken.full_keys), 0) as full_keys,
    coalesce(taken.full_keys[:%(named)s::integer], '{}') as named_keys
from m25.limiter
left join under on under.limiter = limiter.name
left join taken on taken.limiter = limiter.name
cross join lateral (
    select sum(due.number + held_up.number)::bigint as number
    from unnest(under.queues) as each (name)
    cross join lateral (
        select count(*) as number
        from (
            select
            from m25.job
            where status = 'pending' and queue_name = each.name and run_at <= now()
            limit %(most)s::bigint
        ) as due
    ) as due
    cross join lateral (
        select count(*) as number
        from (
            select
            from m25.job
            where queue_name = each.name
                and was_due_at is not null
                and reserved_at is null
                and cancelled_at is null
                and scheduled_at > '8000-01-01Z'
            limit %(most)s::bigint
        ) as held_up
    ) as held_up
) as waits
where under.limiter is not null or limiter.is_held
order by limiter.name;

-- live_children
--
-- Which jobs have not ended of those that a job has started in one of its nurseries; ids are those of
-- first attempts. Reads only.
-- Safe under concurrency: it is asked under a claim, and whoever had the job before starts nothing more
-- (start_children.sql); so nothing comes in that is not seen. The next attempt of a job is inserted with
-- the end of the one before it: so one of them is there, whenever this reads.
select coalesce(original_attempt_id, id)::text as job_id
from m25.job
where parent_id = %(parent_id)s::uuid
    and nursery = %(nursery)s::text
    and finished_at is null
    and cancelled_at is null;

-- lock_keys
--
-- Lock keys of queues, each by its row, until the transaction ends; and say which job was the last to take
-- each. A key that nobody has had has a row from now on.
-- Safe under concurrency: who puts a job of a key has locked that key's row before anything else is looked
-- at, so the statements that follow see whatever was put before: what an open transaction has put is
-- waited for. Rows are locked in order, so that two batches with the same keys cannot deadlock.
with bounded as materialized (
    select case
        when %(lock_wait)s::text is not null
        then set_config('lock_timeout', %(lock_wait)s::text, true)
    end as lock_timeout
),
wanted as (
    select *
    from unnest(%(queue_name)s::text[], %(key)s::text[]) as w (queue_name, key)
)
insert into m25.held_key (queue_name, key)
select queue_name, key
from bounded, wanted
order by queue_name, key

on conflict (queue_name, key) do update set job_id = held_key.job_id
returning queue_name, key, job_id::text;

-- lock_limit
--
-- Lock a limit, until the transaction ends: whoever else claims under it waits.
-- The claim that follows in the same transaction is another statement, so that it sees what was
-- committed while this one waited: a single statement would count what ran before that.
-- Safe under concurrency: it is one row, and nobody who has it locked waits for any other lock.
select name
from m25.limiter
where name = %(limiter)s::text
for no key update;

-- notify
--
-- Tell the workers that listen on these channels that something may be there to do. A hint: nothing
-- is believed from it, and nothing is lost without it.
select pg_notify(channel, '')
from unnest(%(channels)s::text[]) as channel;

-- own_settings
--
-- Set what the statements here are written for (session.sql says why) for the rest of a transaction in
-- which a handler has written: it may have set anything, and been anybody. Tells whether it is still the
-- transaction that was begun for the handler. It comes last but for m25's own writes and the commit, so
-- that nothing of a user's runs under these settings.
-- Safe under concurrency: of the own transaction alone.
select
    extract(epoch from pg_catalog.now())::pg_catalog.text
        operator(pg_catalog.=) %(began)s::pg_catalog.text as is_ours,
    -- An aggregate reads all rows.
    pg_catalog.count(pg_catalog.set_config(wanted.name, wanted.value, true))
from (
    values

        ('role', %(role)s::pg_catalog.text, null),
        (
            'search_path',
            'pg_catalog',
            pg_catalog.current_setting('search_path') operator(pg_catalog.~) ',\s*"?pg_catalog'
        ),
        ('statement_timeout', '0', null),
        ('array_nulls', 'on', null),
        ('plan_cache_mode', 'force_generic_plan', null),
        ('enable_seqscan', 'off', null),
        ('enable_bitmapscan', 'off', null),
        ('enable_mergejoin', 'off', null),
        ('enable_nestloop', 'off', null),
        ('jit', 'off', null)
) as wanted (name, value, needed)
where coalesce(wanted.needed, true);

-- pause
--
-- Pause a queue: claims look at this row, and take no job from then on. Its workers are told, so that
-- they say so, and need not find out by claiming.
-- Safe under concurrency: it is one row, and of two who pause it the first counts, but for the reason,
-- which is the last one's.
update m25.queue
set
    paused_at = coalesce(paused_at, now()),
    pause_reason = %(reason)s::text,
    updated_at = now()
where name = %(queue_name)s::text
returning
    case when %(notifies)s::boolean then pg_notify(%(channel)s::text, %(payload)s::text)::text end
        as notified;

-- pause_schedule
--
-- Pause a schedule, or resume it: then it goes on with the next tick from now. Nothing happens where
-- it is so already. Safe under concurrency: one update, whose conditions are checked on the row as it
-- is once locked.
update m25.schedule
set
    paused_at = case when %(is_paused)s::boolean then coalesce(paused_at, now()) end,
    last_tick = case
        when paused_at is not null and not %(is_paused)s::boolean
        then greatest(last_tick, now())
        else last_tick
    end
where name = %(name)s::text
returning name;

-- pause_unheard
--
-- Pause a queue of which nobody has heard yet: it has no row, and gets one. Its workers write into it
-- what they declare, and leave the pause alone.
-- Safe under concurrency: where a worker was quicker, or somebody else who pauses it, the row is theirs
-- and is paused.
insert into m25.queue as queue (name, default_job_timeout, channel, paused_at, pause_reason)
values (
    %(queue_name)s::text,
    %(default_job_timeout)s::interval,
    %(channel)s::text,
    now(),
    %(reason)s::text
)
on conflict (name) do update
set
    paused_at = coalesce(queue.paused_at, now()),
    pause_reason = excluded.pause_reason,
    updated_at = now()
returning
    case when %(notifies)s::boolean then pg_notify(%(channel)s::text, %(payload)s::text)::text end
        as notified;

-- prune
--
-- Delete jobs of a queue that ended long ago, each with all that belongs to it. It is a walk over the
-- table by id, some rows at a time: of these, those are looked at that are the first attempt of a job
-- which no other has started. There always is one row: it says where the walk has come to.
-- Safe under concurrency: what is left and what goes, deleted_trees.sql says.
with recursive walked as materialized (
    select id, queue_name, parent_id, original_attempt_id
    from m25.job
    where id > %(after)s::uuid and id <= %(until)s::uuid
    order by id
    limit %(walk)s::bigint
),
ended as materialized (
    select walked.id, latest.has_children
    from walked
    cross join lateral (
        select attempt.status, attempt.ended_at, attempt.has_children
        from (
            select first.status, coalesce(first.finished_at, first.cancelled_at) as ended_at,
                first.has_children, first.attempt
            from m25.job as first
            where first.id = walked.id
            union all
            select next.status, coalesce(next.finished_at, next.cancelled_at),
                next.has_children, next.attempt
            from m25.job as next
            where next.original_attempt_id = walked.id
        ) as attempt
        order by attempt.attempt desc
        limit 1
    ) as latest
    where walked.queue_name = %(queue_name)s::text
        and walked.original_attempt_id is null
        and walked.parent_id is null

        and not exists (
            select
            from m25.stopped_key
            join m25.queue on queue.name = stopped_key.queue_name
            where stopped_key.job_id = walked.id
                and queue.order_path is not null
        )

        and latest.ended_at < now()
            - case latest.status
                when 'succeeded' then %(succeeded)s::interval
                when 'failed' then %(failed)s::interval
                when 'cancelled' then %(cancelled)s::interval
            end
),
tree (root_id, job_id, has_children) as (
    select id, id, has_children from ended
    union
    select tree.root_id, child.job_id, child.has_children
    from tree
    cross join lateral (
        select coalesce(original_attempt_id, id) as job_id, has_children
        from m25.job
        where parent_id = tree.job_id
        offset 0
    ) as child
    where tree.has_children
),
member as materialized (
    select tree.root_id, attempt.id, attempt.is_live, attempt.version
    from (select distinct root_id, job_id from tree) as tree
    cross join lateral (
        select
            first.id,
            first.finished_at is null and first.cancelled_at is null as is_live,
            first.xmin as version
        from m25.job as first
        where first.id = tree.job_id
        union all
        select next.id, next.finished_at is null and next.cancelled_at is null, next.xmin
        from m25.job as next
        where next.original_attempt_id = tree.job_id
    ) as attempt
),
whole as materialized (
    select root_id, count(*) as number
    from member
    group by root_id
    having not bool_or(is_live)
),
locked as materialized (
    select job.id
    from m25.job
    join member
        on member.id = job.id
        and member.version = job.xmin
    where job.id = any(array(select member.id from member join whole using (root_id)))
    order by job.id
    for update of job skip locked
),
pruned as materialized (
    select member.root_id
    from member
    join whole using (root_id)
    join locked on locked.id = member.id
    group by member.root_id, whole.number
    having count(*) = whole.number
),
deleted as (
    delete from m25.job
    where id = any(array(select member.id from member join pruned using (root_id)))
    returning id
)
select
    (select count(*) from walked) as walked,
    (select id::text from walked order by id desc limit 1) as last_id,
    (select count(*) from pruned) as jobs,
    (select count(*) from deleted) as attempts;

-- queue_rates
--
-- For each queue, how many attempts have ended lately, how many of them failed, and for how long they
-- waited and ran on average. Only the `walk` youngest by id are looked at: where jobs wait for long,
-- those that end are older, and there are more of them.
-- Reads only, by a walk over the end of the primary key.
select
    queue_name,
    count(*) as ended,
    count(*) filter (where failure_reason is not null) as failed,
    avg(greatest(extract(epoch from started_at - run_at), 0))::float8 as waited,
    avg(extract(epoch from finished_at - started_at))::float8 as ran
from (
    select queue_name, failure_reason, started_at, run_at, finished_at
    from m25.job
    where id <= 'ffffffff-ffff-ffff-ffff-ffffffffffff'
    order by id desc
    limit %(walk)s::bigint
) as young
where finished_at > now() - %(within)s::interval
    -- Of what has no length there is no average.
    and isfinite(run_at)
    and isfinite(started_at)
    and isfinite(finished_at)
group by queue_name
order by queue_name;

-- queue_states
--
-- All queues that have jobs which have not ended, or have failed, or of which anybody has heard; with what
-- is on them. Jobs are counted up to `most`: of a queue's pending ones, of a queue's live ones, and of
-- all that have failed.
-- Reads only. Names are found by a probe for each queue, and jobs counted by partial indexes, which know
-- nothing of what has succeeded.
with recursive pending (name) as (
    (
        select queue_name from m25.job
        where status = 'pending' and queue_name >= ''
        order by queue_name limit 1
    )
    union all
    select (
        select queue_name from m25.job
        where status = 'pending' and queue_name > pending.name
        order by queue_name limit 1
    )
    from pending
    where name is not null
),
live (name) as (
    (
        select queue_name from m25.job
        where reserved_at is not null
            and finished_at is null
            and cancelled_at is null
            and queue_name >= ''
        order by queue_name limit 1
    )
    union all
    select (
        select queue_name from m25.job
        where reserved_at is not null
            and finished_at is null
            and cancelled_at is null
            and queue_name > live.name
        order by queue_name limit 1
    )
    from live
    where name is not null
),
failed as materialized (
    select queue_name as name, count(*) as number
    from (
        select queue_name
        from m25.job
        where status = 'failed'
            and id > '00000000-0000-0000-0000-000000000000'
            and (
                select true
                from m25.job as next
                where next.original_attempt_id = coalesce(job.original_attempt_id, job.id)
                    and next.attempt > job.attempt
                limit 1
            ) is null
        order by id desc
        limit %(most)s::bigint
    ) as each
    group by queue_name
),
served as materialized (
    select name, count(*) as number
    from (
        select unnest(queues) as name
        from m25.worker
        where ended_at is null and latest_heartbeat_at > now() - %(silence)s::interval
    ) as each
    group by name
),
known as materialized (
    select name from pending where name is not null
    union
    select name from live where name is not null
    union
    select name from failed
    union
    select name from m25.queue
)
select
    known.name,
    extract(epoch from queue.default_job_timeout)::text as default_job_timeout,
    queue.default_max_attempts,
    queue.on_failure,
    extract(epoch from queue.paused_at)::text as paused_at,
    queue.pause_reason,
    queue.limiter,
    coalesce(limiter.set_to, limiter.declared) as "limit",
    waits.due,
    waits.scheduled,
    waits.waiting,
    runs.number as running,
    coalesce(failed.number, 0) as failed,
    extract(epoch from case when oldest.run_at <= now() then oldest.run_at end)::text as due_since,
    coalesce(served.number, 0) as workers
from known
left join m25.queue on queue.name = known.name
left join m25.limiter on limiter.name = queue.limiter
left join failed on failed.name = known.name
left join served on served.name = known.name
cross join lateral (
    select
        count(*) filter (where run_at <= now()) as due,
        count(*) filter (where run_at > now() and run_at < '8000-01-01Z') as scheduled,
        -- That is when a job is due that waits for a message, or for others of its key.
        count(*) filter (where run_at >= '8000-01-01Z') as waiting
    from (
        select run_at
        from m25.job
        where queue_name = known.name and status = 'pending'
        limit %(most)s::bigint
    ) as each
) as waits
cross join lateral (
    select count(*) as number
    from (
        select
        from m25.job
        where queue_name = known.name
            and reserved_at is not null
            and finished_at is null
            and cancelled_at is null
        limit %(most)s::bigint
    ) as each
) as runs
cross join lateral (
    with recursive level (priority) as (
        (
            select priority from m25.job
            where queue_name = known.name and status = 'pending'
            order by priority limit 1
        )
        union all
        select (
            select job.priority from m25.job
            where queue_name = known.name and status = 'pending' and job.priority > level.priority
            order by job.priority limit 1
        )
        from level
        where level.priority is not null
    )
    select min(first.run_at) as run_at
    from level
    cross join lateral (
        select run_at from m25.job
        where queue_name = known.name and status = 'pending' and job.priority = level.priority
        order by run_at
        limit 1
    ) as first
) as oldest
order by known.name;

-- recall_newer
--
-- Have jobs looked at now that were left to newer workers, those first that would be looked at first.
-- Safe under concurrency: the rows are locked, and were pending when they were; what somebody else has
-- locked is left out. They only come sooner: whoever claims them looks at them like any other.
with newer as materialized (
    select id from m25.job
    where queue_name = %(queue_name)s::text
        and unknown_since is not null
            and was_due_at is null
            and reserved_at is null
            and cancelled_at is null
        and scheduled_at > now()
    order by scheduled_at
    limit %(limit)s::bigint
    for no key update skip locked
),
recalled as (
    update m25.job
    set scheduled_at = now()
    where id = any(array(select id from newer))
    returning id
)
select count(*)::text from recalled;

-- receive
--
-- Receive messages for handlers that wait for them: for each the oldest of its name that nobody has
-- received, kept as a step in the same commit. Where none has come, until when the handler waits is
-- kept, if it is not there yet; what came later than that is not for it.
-- Safe under concurrency: the row of each attempt is locked first, and must be executing under the
-- claim's own token. Whoever sends a message locks the same row, and counts it there. `messages` is the
-- count of the statement's snapshot, as are the messages that it looks at, and not that of the locked
-- row: a message that was committed in between changes the row's count, by which release.sql knows that
-- the handler has not seen it. A step is one handler's affair, and is repeated after a lost answer:
-- where the lost one has received the message in between, `is_stale` says that it is to be asked again.
with wanted as (
    select *
    from unnest(
        %(id)s::uuid[],
        %(claim_token)s::uuid[],
        %(job_id)s::uuid[],
        %(name)s::text[],
        %(key)s::text[],
        %(timeout)s::interval[]
    ) with ordinality as w (id, claim_token, job_id, name, key, timeout, number)
),
held as materialized (
    select claim.id, claim.claim_token
    from m25.job
    join (select distinct id, claim_token from wanted) as claim
        on claim.id = job.id
        and claim.claim_token = job.claim_token
    where job.id = any(%(id)s::uuid[])
        and job.status = 'executing'
    order by job.id
    for no key update of job skip locked
),
seen as (
    select id, coalesce(messages, 0) as messages
    from m25.job
    where id = any(%(id)s::uuid[])
),
kept as (
    select job_id, kind,
    name,
    key,
    fingerprint,
    extract(epoch from until)::text as until,
    extract(epoch from until - now())::float8 as seconds_left,
    output::text
    from m25.step
    where job_id = any(%(job_id)s::uuid[]) and kind = 'receive'
),
chosen as materialized (
    select wanted.number, message.id, message.job_id
    from wanted
    join held on held.id = wanted.id and held.claim_token = wanted.claim_token
    left join kept using (job_id, name, key)
    cross join lateral (
        select message.id, message.job_id
        from m25.message
        where message.job_id = wanted.job_id
            and message.name = wanted.name
            and message.received_at is null

            and (kept.until is null or extract(epoch from message.created_at) < kept.until::numeric)
        order by message.id
        limit 1
    ) as message
    where kept.output is null
),
taken as (
    update m25.message
    set received_at = now()
    from chosen
    where message.job_id = chosen.job_id
        and message.id = chosen.id
        and message.received_at is null
    returning chosen.number, message.value
),
written as (
    insert into m25.step (job_id, kind, name, key, attempt_id, until, output)
    select
        wanted.job_id,
        'receive',
        wanted.name,
        wanted.key,
        wanted.id,
        -- Within what a timestamp can hold, as a deadline is.
        case
            when taken.number is null
            then now() + make_interval(
                secs => greatest(least(extract(epoch from wanted.timeout), 31557600000), 0)::float8
            )
        end,
        taken.value
    from wanted
    join held on held.id = wanted.id and held.claim_token = wanted.claim_token
    left join chosen using (number)
    left join taken using (number)
    where taken.number is not null or (chosen.number is null and wanted.timeout is not null)
    on conflict (job_id, kind, name, key) do update
    set output = excluded.output, attempt_id = excluded.attempt_id
    where step.output is null and excluded.output is not null
    returning job_id, kind,
    name,
    key,
    fingerprint,
    extract(epoch from until)::text as until,
    extract(epoch from until - now())::float8 as seconds_left,
    output::text
)
select
    wanted.number,
    held.id is not null as is_held,
    chosen.number is not null and taken.number is null as is_stale,
    written.output is not null as is_new,
    seen.messages,
    coalesce(written.kind, kept.kind) as kind,
    wanted.name,
    wanted.key,
    coalesce(written.fingerprint, kept.fingerprint) as fingerprint,
    coalesce(written.until, kept.until) as until,
    coalesce(written.seconds_left, kept.seconds_left) as seconds_left,
    coalesce(written.output, kept.output) as output
from wanted
left join held on held.id = wanted.id and held.claim_token = wanted.claim_token
left join seen on seen.id = wanted.id
left join kept using (job_id, name, key)
left join written using (job_id, name, key)
left join chosen using (number)
left join taken using (number);

-- redate
--
-- Date misdated jobs as if they were created now, at most `limit`. The database's clock was set back
-- after they were enqueued, and without this they would wait until it shows that time again. A retry
-- keeps its delay, and what somebody scheduled its time.
-- It walks over all jobs of the queues that are due later, so it runs only where a survey has seen one
-- that is misdated.
-- Safe under concurrency: a row that somebody has locked is left out, and a row is checked again once
-- it is locked, before it is written. Of several processes that do this at once, each has other rows.
-- A job stays pending, and in its order: batches are taken by `run_at`, and ids are in order.
with recursive queue (name) as (
    select unnest(%(queue_name)s::text[])
),
level (queue_name, priority) as (
    select name, (
        select priority from m25.job
        where queue_name = name and status = 'pending'
        order by priority limit 1
    )
    from queue
    union all
    select queue_name, (
        select job.priority from m25.job
        where job.queue_name = level.queue_name
            and status = 'pending'
            and job.priority > level.priority
        order by job.priority limit 1
    )
    from level
    where level.priority is not null
),
misdated as materialized (
    select candidate.id
    from level
    cross join lateral (
        select id from m25.job
        where job.queue_name = level.queue_name
            and status = 'pending'
            and job.priority = level.priority
            and run_at > now() + interval '1 second'
            and created_at > now() + interval '1 second'
                and (scheduled_at is null or previous_attempt_id is not null)
        order by run_at, id
        limit %(limit)s::bigint
        for no key update skip locked
    ) as candidate
    where level.priority is not null
    limit %(limit)s::bigint
)
update m25.job
set
    created_at = now(),
    scheduled_at = case
        -- Between infinities there is no delay: such a row is somebody else's.
        when isfinite(scheduled_at) and isfinite(created_at)
        then now() + make_interval(secs => extract(epoch from scheduled_at - created_at)::float8)
        else scheduled_at
    end
where id = any(array(select id from misdated))
returning queue_name;

-- release
--
-- Release claimed jobs: pending again, the attempt not counted, nothing of the claim left; or cancelled,
-- where somebody has asked for that, or the caller says why.
-- Safe under concurrency: a row that somebody else has locked keeps none of the others waiting; only a
-- row that is live under the caller's own claim token is written. Whether a cancel was asked for is
-- read from the row once it is locked; so is the number of messages that were sent to the job: where it
-- is set aside until one comes, and more have come than its handler has seen, it is due at once.
-- What has something in its input that its worker does not know is left to newer ones, and goes to the end
-- of the line of such jobs, whichever process has released it.
-- Under a rate it gives its token back, unless somebody has the rate locked just now, who may be a
-- stranger: then it is spent, so that no release waits.
-- `channels` are notified in the same commit.
with wanted as (
    select *
    from unnest(
        %(id)s::uuid[],
        %(claim_token)s::uuid[],
        %(delay)s::interval[],
        %(setup_failed)s::boolean[],
        %(cancel_reason)s::text[],
        %(until)s::float8[],
        %(awaits)s::text[],
        %(messages)s::integer[],
        %(is_newer)s::boolean[],
        %(session_lost)s::boolean[],
        %(claimed_ahead)s::boolean[]
    ) as w (
        id,
        claim_token,
        delay,
        setup_failed,
        cancel_reason,
        until,
        awaits,
        messages,
        is_newer,
        session_lost,
        claimed_ahead
    )
),
held as materialized (
    select
        job.id,
        job.queue_name,
        job.reserved_at,
        wanted.delay,
        wanted.setup_failed,
        wanted.cancel_reason,
        wanted.until,
        wanted.awaits,
        wanted.is_newer,
        wanted.session_lost,
        wanted.claimed_ahead,
        wanted.awaits is not null
            and coalesce(job.messages, 0) <> wanted.messages
            as has_message,
        wanted.cancel_reason is not null
            or job.cancel_requested_at is not null
            as is_cancelled
    from m25.job
    join wanted
        on wanted.id = job.id
        and wanted.claim_token = job.claim_token
    where job.id = any(%(id)s::uuid[])
        and job.status in ('reserved', 'executing')
    order by job.id
    for no key update of job skip locked
),
cancelled as (
    update m25.job
    set
        cancelled_at = now(),
        cancel_reason = coalesce(job.cancel_reason, held.cancel_reason),
        claim_token = null,
        lease_expires_at = null
    from held
    where job.id = any(array(select id from held where is_cancelled))
        and held.id = job.id
    returning job.id, job.queue_name, job.attempt, job.max_attempts, job.original_attempt_id,
        job.waiter
),
newer as materialized (
    select
        held.id,
        held.queue_name,
        row_number() over (partition by held.queue_name order by held.id) - 1 as number
    from held
    where held.is_newer
),
line as materialized (
    select
        queue.queue_name,
        greatest(last.at, next.at) as at,
        case when last.at >= next.at then last.length else 0 end as length
    from (select distinct queue_name from newer) as queue
    cross join (
        select
            to_timestamp(5 * (floor(extract(epoch from now()) / 5) + 1))
            as at
    ) as next
    left join lateral (
        select
            latest.at,
            (
                select count(*)
                from (
                    select from m25.job
                    where job.queue_name = queue.queue_name
                        and scheduled_at = latest.at
                        and unknown_since is not null
                            and was_due_at is null
                            and reserved_at is null
                            and cancelled_at is null
                    limit 100
                ) as place
            ) as length
        from (
            select scheduled_at as at from m25.job
            where job.queue_name = queue.queue_name
                and unknown_since is not null
                    and was_due_at is null
                    and reserved_at is null
                    and cancelled_at is null
            order by scheduled_at desc
            limit 1
        ) as latest
    ) as last on true
),
next_look as materialized (
    select
        newer.id,
        line.at
            + interval '5 seconds' * floor((line.length + newer.number) / 100.0)
            as at
    from newer
    join line on line.queue_name = newer.queue_name
),
released as (
    update m25.job
    set
        scheduled_at = case
            when held.has_message then now()
            when held.is_newer
                then (
                    select least(
                        next_look.at,
                        coalesce(job.unknown_since, now()) + interval '15 minutes'
                    )
                    from next_look
                    where next_look.id = held.id
                )
            else coalesce(to_timestamp(held.until), now() + held.delay, job.scheduled_at)
        end,
        awaits = case when not held.has_message then held.awaits end,
        -- What has been started in time runs again whenever that is.
        expires_at = case
            when job.started_at is null
                or held.is_newer
                or held.claimed_ahead
            then job.expires_at
        end,
        unknown_since = case
            when held.is_newer
            then coalesce(job.unknown_since, now())
            when held.claimed_ahead then job.unknown_since
        end,
        setup_failures = case
            when held.setup_failed
            then least(coalesce(job.setup_failures, 0), 2147483646) + 1
            else job.setup_failures
        end,
        session_losses = case
            when held.session_lost
            then least(coalesce(job.session_losses, 0), 2147483646) + 1
            when held.claimed_ahead then job.session_losses
        end,
        reserved_at = null,
        started_at = null,
        deadline = null,
        latest_heartbeat_at = null,
        lane = null,
        claim_token = null,
        lease_expires_at = null,
        stack_asked_at = null,
        stack = null,
        place = null
    from held
    where job.id = any(
            array(select id from held where not is_cancelled)
        )
        and held.id = job.id
    returning job.id
),
unspent as (
    select rate.name, rate.rate_interval, count(*) as number
    from held
    join m25.queue on queue.name = held.queue_name
    join m25.limiter as rate on rate.name = queue.limiter
    where held.is_newer
        and not held.is_cancelled
        -- By then more may have been saved up than a rate lets be.

        and held.reserved_at > now() - make_interval(secs => rate.rate_interval)
    group by rate.name
),
given_back as (
    update m25.limiter

    set next_start_at = limiter.next_start_at
            - make_interval(secs => least(unspent.number * unspent.rate_interval, 31557600000))
    from unspent
    where limiter.name = unspent.name
        and limiter.name = any(array(
            select name from m25.limiter
            where name = any(array(select name from unspent))
            for no key update skip locked
        ))
)
select
    id::text,
    false as is_cancelled,
    (
        select count(pg_notify(channel, ''))
        from unnest(%(channels)s::text[]) as channel
        where %(notifies)s::boolean
    )::text as notified
from released
union all
select
    id::text,
    true,
    case
        when %(notifies)s::boolean
            and waiter ~ '^m25_[0-9a-z_]{1,59}$'
        then pg_notify(waiter, coalesce(original_attempt_id, id)::text)::text
    end as notified
from cancelled;

-- release_claims
--
-- Release whatever a claim took whose answer was lost: its rows are known by its token alone.
-- Safe under concurrency: the token is nobody else's, and rows are locked in id order; one that
-- somebody else has locked is left to its lease; so is one that is to be cancelled and has started
-- others: whoever sweeps it cancels these, too. They are found first, without an order, since a walk
-- in id order would be over the whole table. What somebody wants cancelled is cancelled.
with taken as materialized (
    select id
    from m25.job
    where queue_name = %(queue_name)s::text
        and reserved_at is not null
        and finished_at is null
        and cancelled_at is null
        and claim_token = any(%(claim_token)s::uuid[])
),
held as materialized (
    select id, null::text as cancel_reason, cancel_requested_at is not null as is_cancelled
    from m25.job
    where id = any(array(select id from taken))
        and finished_at is null
        and cancelled_at is null
        and claim_token = any(%(claim_token)s::uuid[])

        and (cancel_requested_at is null or has_children is not true)
    order by id
    for no key update skip locked
),
cancelled as (
    update m25.job
    set
        cancelled_at = now(),
        cancel_reason = coalesce(job.cancel_reason, held.cancel_reason),
        claim_token = null,
        lease_expires_at = null
    from held
    where job.id = any(array(select id from held where is_cancelled))
        and held.id = job.id
    returning job.id, job.queue_name, job.attempt, job.max_attempts, job.original_attempt_id,
        job.waiter
),
released as (
    update m25.job
    set
        reserved_at = null,
        started_at = null,
        deadline = null,
        latest_heartbeat_at = null,
        lane = null,
        claim_token = null,
        lease_expires_at = null,
        stack_asked_at = null,
        stack = null,
        place = null
    where id = any(array(select id from held where not is_cancelled))
    returning id
)
select id::text, null as notified
from released
union all
select
    id::text,
    case
        when %(notifies)s::boolean
            and waiter ~ '^m25_[0-9a-z_]{1,59}$'
        then pg_notify(waiter, coalesce(original_attempt_id, id)::text)::text
    end as notified
from cancelled;

-- release_places
--
-- Give back places of a limit that are held outside of jobs. Where as many of their key were taken as may
-- be, whoever may wait for one is told.
-- Safe under concurrency: the limit is not locked, and need not be, as this only makes more room. Who counts
-- before it is committed hears of it afterwards. What is gone already was swept, or given back before.
with size as materialized (
    select coalesce(set_to, declared, 2147483647) as size
    from m25.limiter
    where name = %(limiter)s::text
),
live as materialized (
    select
        job.id,
        left(coalesce(job.input #>> queue.limit_path, ''), 200) as key,
        coalesce(job.place, job.id) as place
    from m25.queue
    join m25.job on job.queue_name = queue.name
    where queue.limiter = %(limiter)s::text
        and job.queue_name = any(
            array(select name from m25.queue where limiter = %(limiter)s::text)
        )
        and job.reserved_at is not null
        and job.finished_at is null
        and job.cancelled_at is null
),
outside as materialized (
    select id, key
    from m25.limit_holder
    where limiter = %(limiter)s::text
),
awaited as materialized (
    select awaited_key as key
    from m25.limiter
    where name = %(limiter)s::text
        and awaited_since <= now() - interval '1 second'
        and asked_at > now() - interval '3 seconds'
        and not (jobs_next and coalesce(turn_at <= now(), false))
),
taken as materialized (
    select key, count(distinct place) as number
    from (
        select key, place from live
        union all
        select key, id from outside
        union all
        select key, uuid '00000000-0000-0000-0000-000000000000' from awaited
    ) as each
    group by key
),
mine as materialized (
    select id, key
    from m25.limit_holder
    where id = any(%(id)s::uuid[]) and limiter = %(limiter)s::text
    order by id
    for update
),
released as (
    update m25.limit_holder
    set id = gen_random_uuid(), limiter = null
    where id = any(array(select id from mine))
    returning limiter
),
emptied as materialized (
    select %(limiter)s::text as limiter
    from size
    where exists (
        select
        from mine
        join taken on taken.key = mine.key
        where taken.number >= size.size
    )
)
select
    exists (select from emptied) as made_room,
    (
        select count(pg_notify(channel, ''))
        from m25.queue
        where limiter in (select limiter from emptied)
            and channel is not null
            and %(notifies)s::boolean
    ) as workers_told,
    (
        select count(pg_notify(%(room_channel)s::text, limiter))
        from emptied
        where %(notifies)s::boolean
    ) as waiters_told;

-- renew_places
--
-- Renew the leases of places that are held outside of jobs; the ids that come back are held still, each
-- with whether its lease was renewed. Where it was not, somebody has locked the row for now.
-- Safe under concurrency: a row that is locked keeps none of the others waiting. One that was swept has
-- another id. A lease begins when its row is locked, as in heartbeat.sql.
with held as materialized (
    select id
    from m25.limit_holder
    where id = any(%(id)s::uuid[]) and limiter is not null
    order by id
    for no key update skip locked
),
renewed as (
    update m25.limit_holder
    set lease_expires_at = clock_timestamp() + lease
    where id = any(array(select id from held))
    returning id
)
select limit_holder.id::text, renewed.id is not null as is_renewed
from m25.limit_holder
left join renewed on renewed.id = limit_holder.id
where limit_holder.id = any(%(id)s::uuid[]);

-- renew_schedules
--
-- Say that schedules are still declared as they are: where nobody has said so for some time.
-- Safe under concurrency: one update of rows that are locked before. A row that somebody else has
-- locked is left out, and renewed another time.
with known as materialized (
    select schedule.name
    from m25.schedule
    join unnest(%(name)s::text[], %(revision)s::integer[]) as k (name, revision)
        on k.name = schedule.name
        and k.revision = schedule.revision
    where schedule.name = any(%(name)s::text[])
    for no key update of schedule skip locked
)
update m25.schedule
set declared_at = now()
from known
where schedule.name = known.name and schedule.name = any(%(name)s::text[])
returning schedule.name;

-- replace_unique
--
-- Put new jobs in the place of those that have their keys and that no worker has claimed: those keep their
-- ids, and have the inputs and the options of the new ones; where `moves`, also their time.
-- Safe under concurrency: the caller has locked the keys, so nobody else puts a job in the same place. The
-- condition is checked again on the row as it is once locked, so a job that was claimed or cancelled
-- meanwhile is left alone, and does not come back: the caller looks again. Rows are locked in order.
-- `channels` are notified in the same commit.
with wanted as (
    select
        wanted_id,
        coalesce(wanted_queue_name, (%(queue_name)s::text[])[1]) as wanted_queue_name,
        wanted_scheduled_at,
        coalesce(wanted_input, (%(input)s::jsonb[])[1]) as wanted_input,
        coalesce(wanted_timeout, (%(timeout)s::interval[])[1]) as wanted_timeout,
        coalesce(wanted_max_attempts, (%(max_attempts)s::integer[])[1]) as wanted_max_attempts,
        coalesce(wanted_retry_delay, (%(retry_delay)s::interval[])[1]) as wanted_retry_delay,
        wanted_unique_key,
        coalesce(wanted_priority, (%(priority)s::smallint[])[1]) as wanted_priority,
        wanted_meta,
        wanted_expires_at,
        wanted_own_retry,
        wanted_waiter,
        wanted_parent_id,
        wanted_lane,
        wanted_order_key,
        twin_id,
        moves
    from unnest(
        %(id)s::uuid[],
        %(queue_name)s::text[],
        %(scheduled_at)s::timestamptz[],
        %(input)s::jsonb[],
        %(timeout)s::interval[],
        %(max_attempts)s::integer[],
        %(retry_delay)s::interval[],
        %(unique_key)s::text[],
        %(priority)s::smallint[],
        %(meta)s::jsonb[],
        %(expires_at)s::timestamptz[],
        %(own_retry)s::boolean[],
        %(waiter)s::text[],
        %(parent_id)s::uuid[],
        %(lane)s::text[],
        %(order_key)s::text[],
        %(twin_id)s::uuid[],
        %(moves)s::boolean[]
    ) as w (
        wanted_id, wanted_queue_name, wanted_scheduled_at, wanted_input, wanted_timeout,
        wanted_max_attempts, wanted_retry_delay, wanted_unique_key, wanted_priority,
        wanted_meta, wanted_expires_at, wanted_own_retry, wanted_waiter,
        wanted_parent_id, wanted_lane, wanted_order_key,
        twin_id,
        moves
    )
),
held as materialized (
    select id
    from m25.job
    where id = any(%(twin_id)s::uuid[])
        and has_begun = false
        and reserved_at is null
        and cancelled_at is null
    order by id
    for no key update
)
update m25.job
set
    input = wanted_input,
    timeout = wanted_timeout,
    max_attempts = wanted_max_attempts,
    retry_delay = wanted_retry_delay,
    own_retry = wanted_own_retry,
    priority = wanted_priority,
    meta = wanted_meta,
    expires_at = wanted_expires_at,
    scheduled_at = case
        when moves then wanted_scheduled_at
        when was_due_at is not null and scheduled_at > timestamptz '8000-01-01 00:00:00+00'
        then nullif(was_due_at, created_at)
        else scheduled_at
    end,
    -- Its key under a limit may be another now: it is to be looked at anew.
    limit_key = null,
    was_due_at = null,
    lane = wanted_lane,
    order_key = wanted_order_key,
    -- A job that moves to another key, or time, comes last.
    order_number = case
        when wanted_order_key is null then null
        when moves or wanted_order_key is distinct from order_key
        then m25.next_order_number()
        else order_number
    end
from wanted
where id = any(array(select id from held))
    and id = twin_id
returning
    id::text,
    queue_name,
    extract(epoch from created_at)::text as created_at,
    extract(epoch from scheduled_at)::text as scheduled_at,
    input::text,
    extract(epoch from reserved_at)::text as reserved_at,
    extract(epoch from started_at)::text as started_at,
    extract(epoch from cancelled_at)::text as cancelled_at,
    extract(epoch from finished_at)::text as finished_at,
    extract(epoch from timeout)::text as timeout,
    status,
    output::text,
    extract(epoch from deadline)::text as deadline,
    extract(epoch from latest_heartbeat_at)::text as latest_heartbeat_at,
    failure_reason,
    error_data::text,
    attempt,
    max_attempts,
    original_attempt_id::text,
    previous_attempt_id::text,
    extract(epoch from retry_delay)::text as retry_delay,
    unique_key,
    priority,
    losses,
    crash_type,
    crash_message,
    crash_traceback,
    meta::text,
    extract(epoch from expires_at)::text as expires_at,
    own_retry,
    extract(epoch from cancel_requested_at)::text as cancel_requested_at,
    cancelled_by,
    cancel_reason,
    setup_failures,
    progress::text,
    waiter,
    parent_id::text,
    has_children,
    has_begun,
    follows::text,
    extract(epoch from unknown_since)::text as unknown_since,
    session_losses,
    lane,
    order_key,
    extract(epoch from was_due_at)::text as was_due_at,
    (
        select count(pg_notify(channel, '')) from unnest(%(channels)s::text[]) as channel
    ) as notified;

-- report
--
-- Write how far handlers have come. Safe under concurrency as a heartbeat is; the ids that come back
-- were written.
with wanted as (
    select * from unnest(%(id)s::uuid[], %(claim_token)s::uuid[]) as w (id, claim_token)
),
held as materialized (
    select job.id
    from m25.job
    join wanted
        on wanted.id = job.id
        and wanted.claim_token = job.claim_token
    where job.id = any(%(id)s::uuid[])
        and job.status in ('reserved', 'executing')
    order by job.id
    for no key update of job skip locked
)
update m25.job
set progress = report.progress
from unnest(%(id)s::uuid[], %(progress)s::jsonb[]) as report (id, progress)
where job.id = any(array(select id from held))
    and report.id = job.id
returning job.id::text;

-- request_cancel
--
-- Ask for the cancel of a job that is claimed: its owner ends it, or whoever sweeps it.
-- Safe under concurrency: the condition is checked again on the row as it is once locked; the owner's
-- own writes are not hindered, since none of them looks at what this one writes but to end the job.
-- Of several requests the first counts. The workers of the queue are notified, of whom one is the
-- owner. A row without a claim token has an owner that knows of no requests.
with bounded as materialized (
    select case
        when %(lock_wait)s::text is not null
        then set_config('lock_timeout', %(lock_wait)s::text, true)
    end as lock_timeout
)
update m25.job
set
    cancel_requested_at = coalesce(cancel_requested_at, now()),
    cancelled_by = case
        when cancel_requested_at is null then %(by)s::text else cancelled_by
    end,
    cancel_reason = case
        when cancel_requested_at is null then %(reason)s::text else cancel_reason
    end
from bounded
where id = %(id)s::uuid
    and queue_name = %(queue_name)s::text
    and reserved_at is not null
    and finished_at is null
    and cancelled_at is null
    and claim_token is not null
returning
    id::text,
    queue_name,
    extract(epoch from created_at)::text as created_at,
    extract(epoch from scheduled_at)::text as scheduled_at,
    input::text,
    extract(epoch from reserved_at)::text as reserved_at,
    extract(epoch from started_at)::text as started_at,
    extract(epoch from cancelled_at)::text as cancelled_at,
    extract(epoch from finished_at)::text as finished_at,
    extract(epoch from timeout)::text as timeout,
    status,
    output::text,
    extract(epoch from deadline)::text as deadline,
    extract(epoch from latest_heartbeat_at)::text as latest_heartbeat_at,
    failure_reason,
    error_data::text,
    attempt,
    max_attempts,
    original_attempt_id::text,
    previous_attempt_id::text,
    extract(epoch from retry_delay)::text as retry_delay,
    unique_key,
    priority,
    losses,
    crash_type,
    crash_message,
    crash_traceback,
    meta::text,
    extract(epoch from expires_at)::text as expires_at,
    own_retry,
    extract(epoch from cancel_requested_at)::text as cancel_requested_at,
    cancelled_by,
    cancel_reason,
    setup_failures,
    progress::text,
    waiter,
    parent_id::text,
    has_children,
    has_begun,
    follows::text,
    extract(epoch from unknown_since)::text as unknown_since,
    session_losses,
    lane,
    order_key,
    extract(epoch from was_due_at)::text as was_due_at,
    case when %(notifies)s::boolean then pg_notify(%(channel)s::text, id::text)::text end
        as notified;

-- request_stack
--
-- Ask the owner of a claimed job where its handler waits; what was answered before is forgotten.
-- Safe under concurrency: the condition is checked again on the row as it is once locked, and the
-- owner's own writes look at neither column. Of several requests the latest counts, and its answer is
-- for all. The workers of the queue are notified, of whom one is the owner. A row without a claim token
-- has an owner that knows of no requests.
with bounded as materialized (
    select case
        when %(lock_wait)s::text is not null
        then set_config('lock_timeout', %(lock_wait)s::text, true)
    end as lock_timeout
)
update m25.job
set stack_asked_at = clock_timestamp(), stack = null
from bounded
where id = %(id)s::uuid
    and status in ('reserved', 'executing')
    and claim_token is not null
returning
    extract(epoch from stack_asked_at)::text as asked_at,
    case
        when %(notifies)s::boolean then pg_notify(%(channel)s::text, %(payload)s::text)::text
    end as notified;

-- resume
--
-- Resume a queue: its jobs are claimed again. Its workers are told, and look at once.
-- Safe under concurrency: it is one row, and to resume it twice is to resume it once.
update m25.queue
set paused_at = null, pause_reason = null, updated_at = now()
where name = %(queue_name)s::text and paused_at is not null
returning
    case when %(notifies)s::boolean then pg_notify(%(channel)s::text, %(payload)s::text)::text end
        as notified;

-- retry
--
-- Have jobs tried once more that have failed, or were cancelled: insert the attempt that follows the latest.
-- What a worker's retry inherits this one does, but for `expires_at`, and it may be one more than
-- `max_attempts` said.
-- Safe under concurrency: the row that is followed is written, as it is. So of two retries at once one
-- finds the row changed, and inserts nothing; and so does whoever is about to delete what has ended
-- (deleted_trees.sql) leave it. The key of a `Unique` is locked, as whoever takes it does, and must
-- still be this job's; a `unique_key` is the index's affair. Rows that somebody has locked are left, so
-- this deadlocks with nobody; but a key that is just being inserted is waited for, for `lock_wait`.
with bounded as materialized (
    select case
        when %(lock_wait)s::text is not null
        then set_config('lock_timeout', %(lock_wait)s::text, true)
    end as lock_timeout
),
latest as materialized (
    select asked.id as asked, attempt.id as latest_id
    from unnest(%(id)s::uuid[]) as asked (id)
    join m25.job as named on named.id = asked.id
    cross join lateral (
        select first.id, first.attempt
        from m25.job as first
        where first.id = coalesce(named.original_attempt_id, named.id)
        union all
        select next.id, next.attempt
        from m25.job as next
        where next.original_attempt_id = coalesce(named.original_attempt_id, named.id)
        order by attempt desc
        limit 1
    ) as attempt
    where named.id = any(%(id)s::uuid[])
),
wanted as (
    select *
    from unnest(%(id)s::uuid[], %(next_id)s::uuid[]) as w (id, next_id)
),
seen as materialized (
    -- One job may be asked for by the ids of several of its attempts.
    select distinct on (job.id)
        job.id,
        wanted.next_id,
        coalesce(job.original_attempt_id, job.id) as job_id,
        job.status,
        job.parent_id,
        job.unique_key,
        job.has_begun is not null as has_key,
        job.xmin as version
    from latest
    join wanted on wanted.id = latest.asked
    join m25.job on job.id = latest.latest_id
    where job.id = any(array(select latest_id from latest))
    order by job.id
),
own_key as materialized (
    select job_id
    from m25.held_key
    where job_id = any(array(select job_id from seen where has_key))
    order by queue_name, key
    for no key update skip locked
),
held as materialized (
    select job.id
    from m25.job
    join seen
        on seen.id = job.id
        and seen.version = job.xmin
    where job.id = any(array(select id from seen))
        and job.status in ('failed', 'cancelled')
        and job.parent_id is null

        and (job.has_begun is null or seen.job_id in (select job_id from own_key))
    order by job.id
    for no key update of job skip locked
),
followed as (
    update m25.job
    set retry_delay = job.retry_delay
    where id = any(array(select id from held))
    returning job.id, job.attempt, job.original_attempt_id, job.failure_reason,
    job.queue_name, job.input, job.timeout, job.max_attempts, job.retry_delay,
    job.unique_key, job.priority, job.losses, job.meta, job.expires_at,
    job.own_retry, job.progress, job.waiter, job.parent_id, job.has_children,
    job.has_begun, job.order_key, job.messages, job.nursery, job.order_number
),
next_attempt as (
    insert into m25.job (
        id, scheduled_at, attempt, original_attempt_id, previous_attempt_id,
        queue_name, input, timeout, max_attempts, retry_delay, unique_key, priority,
        losses, meta, expires_at, own_retry, progress, waiter, parent_id, has_children,
        has_begun, order_key, messages, nursery, order_number
    )
    select
        (select next_id from seen where seen.id = followed.id),
        now(),
        least(attempt, 2147483646) + 1,
        coalesce(original_attempt_id, id),
        id,
        queue_name,
        input,
        timeout,
        greatest(max_attempts, least(attempt::bigint - losses + 1, 2147483647)::integer),
        retry_delay,
        unique_key,
        priority,
        losses,
        meta,
        null::timestamptz,
        own_retry,
        progress,
        waiter,
        parent_id,
        has_children,
        has_begun,
        order_key,
        messages,
        nursery,
        order_number
    from bounded, followed
    on conflict do nothing
    returning id, previous_attempt_id, queue_name, original_attempt_id
),
goes_on as (
    delete from m25.stopped_key
    where job_id = any(array(select original_attempt_id from next_attempt))
    returning job_id
)
select
    latest.asked::text,
    case
        when next_attempt.id is not null then null
        when seen.status = 'succeeded' then 'succeeded'
        when seen.status not in ('failed', 'cancelled') then 'live'
        when seen.parent_id is not null then 'child'
        when held.id is not null then 'key held'
        when seen.has_key and (
            select true from m25.held_key where held_key.job_id = seen.job_id limit 1
        ) is null then 'key held'
        else 'locked'
    end as refusal,
    coalesce(
        next_attempt.id,
        case
            when held.id is not null
            then (
                select holder.id
                from m25.job as holder
                where holder.unique_key = seen.unique_key
                    and holder.unique_key is not null
                    and holder.status not in ('failed', 'cancelled')
            )
        end
    )::text as other_id,
    (
        select count(pg_notify(channel, ''))
        from m25.queue
        where name = any(array(select queue_name from next_attempt)) and channel is not null
            and %(notifies)s::boolean
    ) as notified
from latest
join seen on seen.id = latest.latest_id
left join held on held.id = seen.id
left join next_attempt on next_attempt.previous_attempt_id = seen.id;

-- run_deferred
--
-- Run what a handler's transaction has put off until its commit: constraints that are deferred, and
-- triggers. For the handler it is the same moment. But its job's row is not locked yet, so that the lease
-- is renewed meanwhile, however long that takes; and it runs under the handler's settings, not ours.
-- Safe under concurrency: of the own transaction alone.
set constraints all immediate;

-- send
--
-- Send a message to a job, whose latest attempt the caller names: it is received by whatever attempt asks
-- for it. A job that is set aside for such a message is due at once, and its workers are notified.
-- Safe under concurrency: the attempt's row is locked first, and must be live or pending as it is once
-- locked; so messages to one job are in the order of their commits, and none comes once the job has
-- ended. What is counted on the row is seen by whoever sets the job aside meanwhile. The time of a
-- message is that at which its row was locked: a handler that waits until a time, and looks for messages
-- after that, knows that none of before will come. A repeat, by the message's key, changes nothing.
with bounded as materialized (
    select case
        when %(lock_wait)s::text is not null
        then set_config('lock_timeout', %(lock_wait)s::text, true)
    end as lock_timeout
),
named as (
    select coalesce(original_attempt_id, id) as job_id
    from m25.job
    where id = %(id)s::uuid and queue_name = %(queue_name)s::text
),
held as materialized (
    select
        job.id,
        coalesce(job.original_attempt_id, job.id) as job_id,
        job.reserved_at is null
            and job.awaits is not distinct from %(name)s::text
            as is_awaited
    from bounded, m25.job
    where job.id = %(id)s::uuid
        and job.queue_name = %(queue_name)s::text
        and job.finished_at is null
        and job.cancelled_at is null
    for no key update of job
),
sent as (
    insert into m25.message (job_id, key, name, value, created_at)
    select job_id, %(key)s::text, %(name)s::text, %(value)s::jsonb, clock_timestamp()
    from held
    on conflict (job_id, key) do nothing
    returning job_id
),
counted as (
    update m25.job
    set
        messages = least(coalesce(job.messages, 0), 2147483646) + 1,
        awaits = case when held.is_awaited then null else job.awaits end,
        scheduled_at = case
            when held.is_awaited
            then least(job.scheduled_at, now())
            else job.scheduled_at
        end
    from held, sent
    where job.id = any(array(select id from held))
        and held.id = job.id
    returning held.is_awaited
)
select
    exists (select from sent) as is_sent,
    exists (select from counted where is_awaited) as is_woken,
    exists (
        select
        from m25.message
        where message.job_id = named.job_id and message.key = %(key)s::text
    ) as is_repeated,
    case
        when %(notifies)s::boolean and exists (select from counted where is_awaited)
        then pg_notify(%(channel)s::text, '')::text
    end as notified
from named;

-- session
--
-- Set what the statements here are written for, where a role or a database has other defaults. Under
-- a stricter isolation level a claim that meets another's fails instead of going on to the next row.
-- With a search path that has pg_catalog behind something else, whoever can create functions there
-- would have his run in place of PostgreSQL's; everything that is not PostgreSQL's is named with its
-- schema, here and in every statement. For the session; nothing is set where nothing needs to be.
--
-- Planning a claim costs more than claiming. So each statement is planned once, whatever its
-- parameters, and every way to a row but by an index is closed: a plan that is made while the table
-- is empty must be right when it holds millions. Loops over rows are closed, too, since two batches
-- of five hundred are to be joined by hashing; where there is no other way, as in a claim, they are
-- taken all the same. Plans with what is closed look so dear that they would be compiled.
--
-- Behind a pooler, where the process that answers is another than the one that greeted us, the session
-- is shared with others, who would inherit what is set: a stranger's transactions would not be
-- serializable any more. There nothing is set; where the isolation level or the search path does not do
-- as it is, as `backend` finds out, no client opens.
select pg_catalog.set_config(wanted.name, wanted.value, false)
from (
    values
        (
            'default_transaction_isolation',
            'read committed',
            pg_catalog.current_setting('default_transaction_isolation')
                operator(pg_catalog.<>) 'read committed'
        ),
        (
            'search_path',
            'pg_catalog',
            pg_catalog.current_setting('search_path') operator(pg_catalog.~) ',\s*"?pg_catalog'
        ),
        ('plan_cache_mode', 'force_generic_plan', null),
        ('enable_seqscan', 'off', null),
        ('enable_bitmapscan', 'off', null),
        ('enable_mergejoin', 'off', null),
        ('enable_nestloop', 'off', null),
        ('jit', 'off', null)
) as wanted (name, value, needed)
where coalesce(wanted.needed, true)

    and %(backend_pid)s::pg_catalog.int4 operator(pg_catalog.=) pg_catalog.pg_backend_pid();

-- set_limit
--
-- Set how many jobs may run at once under a limit. The workers of all queues that have it are told, so
-- that they claim at once where it is more; and so are those who wait for its places outside of jobs.
-- Safe under concurrency: it is one row, which every claim under the limit locks before it reads it.
with changed as (
    update m25.limiter
    set set_to = %(size)s::integer
    where name = %(limiter)s::text
    returning name
)
select
    changed.name,
    (
        select count(pg_notify(channel, ''))
        from m25.queue
        where limiter = changed.name and channel is not null and %(notifies)s::boolean
    ) as notified,
    case
        when %(notifies)s::boolean then pg_notify(%(room_channel)s::text, changed.name)::text
    end as waiters_told
from changed;

-- settle
--
-- End attempts: write each one's outcome and, where the retry rule says so, insert the next attempt,
-- in one statement and so in one transaction. Where a chain has failed, the queue is told that its
-- queue names for that; and where somebody waits for its end, that is notified.
-- Safe under concurrency: a row that somebody else has locked is left out, and keeps none of the others
-- waiting; only a row that is executing under the outcome's own claim token is written, so a worker
-- that lost its claim changes nothing. The next attempt's id was made by the caller, so a repeat after
-- a lost answer inserts nothing twice. The ids that come back are those settled by this very
-- statement; of the others find_settled.sql tells.
with outcome as (
    select *
    from unnest(
        %(id)s::uuid[],
        %(claim_token)s::uuid[],
        %(failure_reason)s::text[],
        %(output)s::jsonb[],
        %(error_data)s::jsonb[],
        %(crash_type)s::text[],
        %(crash_message)s::text[],
        %(crash_traceback)s::text[],
        %(next_attempt_id)s::uuid[],
        %(retry_after)s::interval[]
    ) as o (
        id, claim_token, failure_reason, output, error_data, crash_type, crash_message,
        crash_traceback, next_attempt_id, retry_after
    )
),
held as materialized (
    select job.id
    from m25.job
    join outcome
        on outcome.id = job.id
        and outcome.claim_token = job.claim_token
    where job.id = any(%(id)s::uuid[])
        and job.status = 'executing'
    order by job.id
    for no key update of job skip locked
),
settled as (
    update m25.job
    set
        finished_at = now(),
        failure_reason = outcome.failure_reason,
        output = outcome.output,
        error_data = outcome.error_data,
        crash_type = outcome.crash_type,
        crash_message = outcome.crash_message,
        crash_traceback = outcome.crash_traceback,
        losses = least(job.losses, 2147483646)
            + (outcome.failure_reason is not distinct from 'heartbeat_timeout')::int
    from outcome
    where job.id = any(array(select id from held))
    and outcome.id = job.id
    and outcome.claim_token = job.claim_token
    returning
        outcome.next_attempt_id,
        outcome.retry_after,
        job.cancel_requested_at,
        job.error_data,
        job.crash_type,
        job.crash_message,
        job.id, job.attempt, job.original_attempt_id, job.failure_reason,
        job.queue_name, job.input, job.timeout, job.max_attempts, job.retry_delay,
        job.unique_key, job.priority, job.losses, job.meta, job.expires_at,
        job.own_retry, job.progress, job.waiter, job.parent_id, job.has_children,
        job.has_begun, job.order_key, job.messages, job.nursery, job.order_number
),
failed as (
    select
        *,
        next_attempt_id is null
            or cancel_requested_at is not null
            as is_last,
        %(allowed_losses)s::integer as allowed_losses
    from settled
    where failure_reason is not null
),
next_attempt as (
    insert into m25.job (
        id,
        scheduled_at, attempt, original_attempt_id, previous_attempt_id, queue_name,
        input, timeout, max_attempts, retry_delay, unique_key, priority, losses, meta,
        expires_at, own_retry, progress, waiter, parent_id, has_children, has_begun,
        order_key, messages, nursery, order_number
    )
    select
        next_attempt_id,
        now() + make_interval(
            secs => greatest(
                least(
                    extract(
                        epoch from coalesce(
                            retry_after,
                            case
                                when failure_reason = 'heartbeat_timeout' then interval '0' else retry_delay
                            end
                        )
                    ),
                    31557600000
                ),
                0
            )::float8
        ),
        least(attempt, 2147483646) + 1,
        coalesce(original_attempt_id, id),
        id,
        queue_name, input, timeout, max_attempts, retry_delay, unique_key, priority,
        losses, meta, expires_at, own_retry, progress, waiter, parent_id, has_children,
        has_begun, order_key, messages, nursery, order_number
    from failed
    where not is_last and case
        when failure_reason is null then false
        when failure_reason = 'heartbeat_timeout'
        then losses <= allowed_losses
        else attempt::bigint - losses < max_attempts
    end
    on conflict (id) do nothing
    returning previous_attempt_id
),
failure_told as (
    insert into m25.job (queue_name, input, timeout, attempt, max_attempts)
    select
        source.on_failure,
        jsonb_build_object(
            'job_id', coalesce(failed.original_attempt_id, failed.id),
            'queue', failed.queue_name,
            'attempts', failed.attempt,
            'reason', failed.failure_reason,
            'error', coalesce(
                failed.crash_type || coalesce(': ' || failed.crash_message, ''),
                failed.error_data::text
            ),
            'input', failed.input
        ),
        coalesce(target.default_job_timeout, interval '5 minutes'),
        1,
        coalesce(target.default_max_attempts, 1)
    from failed
    join m25.queue as source on source.name = failed.queue_name
    left join m25.queue as target on target.name = source.on_failure
    where source.on_failure is not null
        and (failed.is_last or not case
            when failure_reason is null then false
            when failure_reason = 'heartbeat_timeout'
            then losses <= allowed_losses
            else attempt::bigint - losses < max_attempts
        end)
    returning queue_name
),
key_stopped as (
    insert into m25.stopped_key (job_id, queue_name, order_key, order_number)
    select
        coalesce(failed.original_attempt_id, failed.id),
        failed.queue_name,
        failed.order_key,
        failed.order_number
    from failed
    join m25.queue on queue.name = failed.queue_name
    where failed.order_number is not null
        and queue.holds_failed
        and failed.parent_id is null
        and failed.cancel_requested_at is null
        and (failed.is_last or not case
            when failure_reason is null then false
            when failure_reason = 'heartbeat_timeout'
            then losses <= allowed_losses
            else attempt::bigint - losses < max_attempts
        end)
    on conflict do nothing
    returning job_id
)
select
    settled.id::text,
    next_attempt.previous_attempt_id is not null as has_next_attempt,
    coalesce(settled.original_attempt_id, settled.id) in (select job_id from key_stopped) as stops_key,
    case
        when next_attempt.previous_attempt_id is null
        then case
            when %(notifies)s::boolean
                and waiter ~ '^m25_[0-9a-z_]{1,59}$'
            then pg_notify(waiter, coalesce(original_attempt_id, id)::text)::text
        end
    end as notified,
    (
        select count(pg_notify(channel, ''))
        from m25.queue
        where name = any(array(select queue_name from failure_told)) and channel is not null
            and %(notifies)s::boolean
    ) as failure_notified
from settled
left join next_attempt on next_attempt.previous_attempt_id = settled.id;

-- skip
--
-- Skip jobs that have failed for good and hold those of their key behind them: these go on, and what has failed
-- stays as it is.
-- Safe under concurrency: it deletes rows that say for which job a key stands still, and the next claim looks
-- whether there is one. A retry at the same time deletes the same row: whoever is second finds none.
with wanted as materialized (
    select id as asked, coalesce(original_attempt_id, id) as job_id, queue_name
    from m25.job
    where id = any(%(id)s::uuid[])
),
skipped as (
    delete from m25.stopped_key
    where job_id = any(array(select job_id from wanted))
    returning job_id
)
select
    wanted.asked::text,
    case when skipped.job_id is null then 'holds none' end as refusal,
    null::text as other_id,
    (
        select count(pg_notify(channel, ''))
        from m25.queue
        where name = wanted.queue_name and channel is not null and skipped.job_id is not null
            and %(notifies)s::boolean
    ) as notified
from wanted
left join skipped on skipped.job_id = wanted.job_id;

-- start
--
-- Start reserved jobs, once their executors have initialised: they are executing from now on.
-- Safe under concurrency: a row that somebody else has locked keeps none of the others waiting, and
-- only a row that still carries the claim's token and is still live is written. A repeat after a lost
-- answer finds the row executing under the same token, and returns it again unchanged. The lease
-- begins when the row is locked, as in heartbeat.sql.
with wanted as (
    select * from unnest(%(id)s::uuid[], %(claim_token)s::uuid[]) as w (id, claim_token)
),
held as materialized (
    select job.id
    from m25.job
    join wanted
        on wanted.id = job.id
        and wanted.claim_token = job.claim_token
    where job.id = any(%(id)s::uuid[])
        and job.status in ('reserved', 'executing')
    order by job.id
    for no key update of job skip locked
),
started as (
    update m25.job
    set
        started_at = coalesce(started_at, now()),
        deadline = coalesce(
            deadline,
            now() + make_interval(
                secs => greatest(least(extract(epoch from timeout), 31557600000), 0)::float8
            )
        ),
        -- What has failed since then fails in a row anew.
        setup_failures = null,
        lease_expires_at = clock_timestamp() + %(lease)s::interval
    where id = any(array(select id from held))
    returning id, started_at, deadline
)
select
    id::text,
    extract(epoch from started_at)::text as started_at,
    extract(epoch from deadline)::text as deadline
from started;

-- start_children
--
-- Insert jobs that executing jobs start and wait for, each under its parent's claim.
-- Safe under concurrency: the parent's row is locked while its children are inserted. Whoever cancels
-- a tree, or ends the parent, locks that row, too: so it either comes later, and its next statement
-- sees these children; or it came first, and they are not inserted. A parent that somebody else has
-- locked keeps no other waiting. As in enqueue.sql, a row whose id or key exists is skipped: the ids
-- are made from the parent's, so a repeat finds what it has inserted.
with bounded as materialized (
    select case
        when %(lock_wait)s::text is not null
        then set_config('lock_timeout', %(lock_wait)s::text, true)
    end as lock_timeout
),
wanted as (
    select
        id,
        coalesce(queue_name, (%(queue_name)s::text[])[1]) as queue_name,
        scheduled_at,
        coalesce(input, (%(input)s::jsonb[])[1]) as input,
        coalesce(timeout, (%(timeout)s::interval[])[1]) as timeout,
        coalesce(max_attempts, (%(max_attempts)s::integer[])[1]) as max_attempts,
        coalesce(retry_delay, (%(retry_delay)s::interval[])[1]) as retry_delay,
        unique_key,
        coalesce(priority, (%(priority)s::smallint[])[1]) as priority,
        meta,
        expires_at,
        own_retry,
        waiter,
        parent_id,
        lane,
        order_key,
        parent_attempt_id,
        parent_token,
        nursery,
        case when order_key is not null then m25.next_order_number() end as order_number
    from unnest(
        %(id)s::uuid[],
        %(queue_name)s::text[],
        %(scheduled_at)s::timestamptz[],
        %(input)s::jsonb[],
        %(timeout)s::interval[],
        %(max_attempts)s::integer[],
        %(retry_delay)s::interval[],
        %(unique_key)s::text[],
        %(priority)s::smallint[],
        %(meta)s::jsonb[],
        %(expires_at)s::timestamptz[],
        %(own_retry)s::boolean[],
        %(waiter)s::text[],
        %(parent_id)s::uuid[],
        %(lane)s::text[],
        %(order_key)s::text[],
        %(parent_attempt_id)s::uuid[],
        %(parent_token)s::uuid[],
        %(nursery)s::text[]
    ) as w (
        id, queue_name, scheduled_at, input, timeout, max_attempts, retry_delay,
        unique_key, priority, meta, expires_at, own_retry, waiter, parent_id, lane,
        order_key,
        parent_attempt_id,
        parent_token,
        nursery
    )
),
parent as (
    select distinct parent_attempt_id, parent_token
    from wanted
),
held as materialized (
    select job.id, parent.parent_token
    from m25.job
    join parent
        on parent.parent_attempt_id = job.id
        and parent.parent_token = job.claim_token
    where job.id = any(%(parent_attempt_id)s::uuid[])
        and job.status = 'executing'
        and job.cancel_requested_at is null
    order by job.id
    for no key update of job skip locked
),
noted as (
    update m25.job
    set has_children = true
    where id = any(array(select id from held))
        and has_children is not true
    returning id
),
inserted as (
    insert into m25.job (
        attempt,
        nursery,
        order_number,
        id, queue_name, scheduled_at, input, timeout, max_attempts, retry_delay,
        unique_key, priority, meta, expires_at, own_retry, waiter, parent_id, lane,
        order_key
    )
    select
        1,
        nursery,
        order_number,
        wanted.id, wanted.queue_name, wanted.scheduled_at, wanted.input, wanted.timeout,
        wanted.max_attempts, wanted.retry_delay, wanted.unique_key, wanted.priority,
        wanted.meta, wanted.expires_at, wanted.own_retry, wanted.waiter,
        wanted.parent_id, wanted.lane, wanted.order_key
    from bounded, wanted
    join held on held.id = wanted.parent_attempt_id and held.parent_token = wanted.parent_token
    order by wanted.unique_key, wanted.id
    on conflict do nothing
    returning id, created_at
)
select
    id::text,
    extract(epoch from created_at)::text as created_at,
    (select count(pg_notify(channel, '')) from unnest(%(channels)s::text[]) as channel) as notified,
    (select count(*) from noted) as noted
from inserted;

-- succeed
--
-- End attempts that have succeeded: what settle.sql does, without all that is about failures. Nearly all
-- outcomes are successes, and this takes three quarters of what settle.sql takes for one.
-- Safe under concurrency for the same reasons.
with outcome as (
    select *
    from unnest(
        %(id)s::uuid[], %(token)s::uuid[], %(output)s::jsonb[]
    ) as o (id, claim_token, output)
),
held as materialized (
    select job.id
    from m25.job
    join outcome
        on outcome.id = job.id
        and outcome.claim_token = job.claim_token
    where job.id = any(%(id)s::uuid[])
        and job.status = 'executing'
    order by job.id
    for no key update of job skip locked
),
succeeded as (
    update m25.job
    set
        finished_at = now(),
        output = outcome.output
    from outcome
    where job.id = any(array(select id from held))
    and outcome.id = job.id
    and outcome.claim_token = job.claim_token
    returning job.id, job.original_attempt_id, job.waiter, job.place
)
select
    id::text,
    case
        when %(notifies)s::boolean
            and waiter ~ '^m25_[0-9a-z_]{1,59}$'
        then pg_notify(waiter, coalesce(original_attempt_id, id)::text)::text
    end as notified
from succeeded;

-- succeed_and_claim
--
-- End attempts that have succeeded as succeed.sql does, and claim due jobs of the same queue in their
-- places: as many as end here, but for what runs beyond a limit that was made smaller. Where the limit is
-- reached, more are claimed behind these, so that each place has `ahead` jobs that wait for it: the caller
-- runs the jobs of one place one after the other. A row tells of each that has ended, or that was claimed.
-- A claim that finds the limit reached says when it is its turn. From then on the next to end here leaves
-- its place to whoever takes it, and all who have the limit are told. Where jobs wait for that place, these
-- run before it is left: the caller is told, and says which place it is `leaving` until it is empty.
-- Safe under concurrency: the limit is not locked, and need not be. Whoever claims under its lock counts
-- the places of jobs that are live, and finds either those that end here or those in their places, never
-- fewer; and this adds none. A place is that of a job which ends here by the caller's own claim: so all that
-- have it are one caller's. It has a name of its own, and not a job's id: once that job is deleted, another
-- one may be enqueued by its id. Rows that others have locked are left out, the limit's own among them: then
-- its turn comes with the next that ends.
with recursive level (priority) as (
    (
        select priority from m25.job
        where queue_name = %(queue_name)s::text and status = 'pending'
        order by priority limit 1
    )
    union all
    select (
        select job.priority from m25.job
        where queue_name = %(queue_name)s::text and status = 'pending' and job.priority > level.priority
        order by job.priority limit 1
    )
    from level
    where level.priority is not null
),
outcome as (
    select *
    from unnest(
        %(id)s::uuid[], %(token)s::uuid[], %(output)s::jsonb[]
    ) as o (id, claim_token, output)
),
held as materialized (
    select job.id
    from m25.job
    join outcome
        on outcome.id = job.id
        and outcome.claim_token = job.claim_token
    where job.id = any(%(id)s::uuid[])
        and job.status = 'executing'
    order by job.id
    for no key update of job skip locked
),
succeeded as (
    update m25.job
    set
        finished_at = now(),
        output = outcome.output
    from outcome
    where job.id = any(array(select id from held))
    and outcome.id = job.id
    and outcome.claim_token = job.claim_token
    returning job.id, job.original_attempt_id, job.waiter, job.place
),
size as materialized (
    select coalesce(set_to, declared, 2147483647) as size
    from m25.limiter
    where name = %(limiter)s::text
),
live as materialized (
    select
        job.id,
        left(coalesce(job.input #>> queue.limit_path, ''), 200) as key,
        coalesce(job.place, job.id) as place
    from m25.queue
    join m25.job on job.queue_name = queue.name
    where queue.limiter = %(limiter)s::text
        and job.queue_name = any(
            array(select name from m25.queue where limiter = %(limiter)s::text)
        )
        and job.reserved_at is not null
        and job.finished_at is null
        and job.cancelled_at is null
),
outside as materialized (
    select id, key
    from m25.limit_holder
    where limiter = %(limiter)s::text
),
awaited as materialized (
    select awaited_key as key
    from m25.limiter
    where name = %(limiter)s::text
        and awaited_since <= now() - interval '1 second'
        and asked_at > now() - interval '3 seconds'
        and not (jobs_next and coalesce(turn_at <= now(), false))
),
taken as materialized (
    select key, count(distinct place) as number
    from (
        select key, place from live
        union all
        select key, id from outside
        union all
        select key, uuid '00000000-0000-0000-0000-000000000000' from awaited
    ) as each
    group by key
),
ended_place as materialized (
    select
        coalesce(one.place, gen_random_uuid()) as place,
        (
            select count(*) from live
            where live.place = coalesce(one.place, one.alone)
                and live.id <> all(array(select id from succeeded))
        ) as others
    from (
        select distinct place, case when place is null then id end as alone
        from succeeded
    ) as one
),
turn as (
    update m25.limiter
    set turn_at = null
    where name = any(array(
        select name from m25.limiter
        where name = %(limiter)s::text and turn_at <= now()
        for no key update skip locked
    ))
        and exists (select from ended_place)
    returning name
),
left_place as materialized (
    select place, others
    from (
        select place, others, row_number() over (order by others, place) as rank from ended_place
    ) as ranked
    where rank = 1 and exists (select from turn)
        or place = %(leaving)s::uuid
),
beyond as materialized (
    select coalesce((select number from taken where key = ''), 0) - size as number
    from size
),
empty as materialized (
    select
        (
            select count(*) from ended_place
            where others = 0
                and place <> all(array(select place from left_place))
        )
        - greatest((select number from beyond), 0)
        as number
),
behind as materialized (
    select
        case
            when (select number from beyond) = 0
            then %(ahead)s::bigint
            else 0
        end as number
),
seat as materialized (
    select
        case when (select number from behind) > 0 then place end as place,
        nth,
        row_number() over (order by nth, place) as number
    from (
        select place, others, row_number() over (order by others, place) as rank
        from ended_place
        where place <> all(array(select place from left_place))
    ) as ranked
    cross join lateral generate_series(
        others + 1,
        1 + (select number from behind)
    ) as nth
    where others > 0
        or rank <= least((select number from empty), %(begin)s::bigint)
),
free as materialized (
    select count(*) as free from seat
),
due as materialized (
    select candidate.id, candidate.priority, candidate.run_at
    from level
    cross join lateral (
        select id, priority, run_at from m25.job
        where queue_name = %(queue_name)s::text
            and status = 'pending'
            and job.priority = level.priority
            and run_at <= now()
            and (
                follows is null
                or (
                    (
                        select true
                        from m25.job as first
                        where first.id = job.follows
                            and first.finished_at is null
                            and first.cancelled_at is null
                        limit 1
                    ) is null
                    and (
                        select true
                        from m25.job as next
                        where next.original_attempt_id = job.follows
                            and next.finished_at is null
                            and next.cancelled_at is null
                        limit 1
                    ) is null
                )
            )
        order by run_at, id
        limit least(%(limit)s::bigint, greatest(coalesce((select free from free), 0), 0))
        for no key update skip locked
    ) as candidate
    where level.priority is not null
        and (
            select paused_at from m25.queue where name = %(queue_name)s::text
        ) is null
    limit least(%(limit)s::bigint, greatest(coalesce((select free from free), 0), 0))
),
placed as materialized (
    select due.id, seat.place, seat.nth
    from (
        select id, row_number() over (order by priority, run_at, id) as number from due
    ) as due
    join seat on seat.number = due.number
),
claimed as (
    update m25.job
    set
        reserved_at = now(),
        claim_token = %(claim_token)s::uuid,
        started_at = case when %(start)s::boolean then now() end,
        deadline = case
            when %(start)s::boolean
            then now() + make_interval(
                secs => greatest(least(extract(epoch from timeout), 31557600000), 0)::float8
            )
        end,
        lease_expires_at = now() + %(lease)s::interval,
        has_begun = case when has_begun is not null then true end,
        place = (select placed.place from placed where placed.id = job.id)
    where id = any(array(select id from placed))
    returning
        id, input, timeout, attempt, max_attempts, retry_delay, priority, run_at,
        case
            when num_nonnulls(
                    scheduled_at, original_attempt_id, previous_attempt_id, unique_key, meta,
                    expires_at, own_retry, setup_failures, progress, parent_id, has_children,
                    has_begun, unknown_since, session_losses
                ) > 0
                or losses <> 0
            then array[
                extract(epoch from created_at)::text,
                extract(epoch from scheduled_at)::text,
                original_attempt_id::text,
                previous_attempt_id::text,
                unique_key::text,
                losses::text,
                meta::text,
                extract(epoch from expires_at)::text,
                own_retry::text,
                setup_failures::text,
                progress::text,
                parent_id::text,
                has_children::text,
                has_begun::text,
                extract(epoch from unknown_since)::text,
                session_losses::text
            ]
        end as rest
)
select
    ended.ended_id,
    ended.notified,
    exists (select from left_place where others = 0) as has_turned,
    (
        select count(pg_notify(channel, ''))
        from m25.queue
        where limiter = %(limiter)s::text and channel is not null
            and exists (select from left_place where others = 0)
            and %(notifies)s::boolean
    ) as turn_notified,
    (
        select count(pg_notify(%(room_channel)s::text, %(limiter)s::text))
        from awaited
        where exists (select from ended_place where others = 0) and %(notifies)s::boolean
    ) as awaited_told,
    (select max(place::text) from left_place where others > 0) as leaving,
    (select count(*) from placed where nth = 1) < (select number from empty) as has_room,
    (select placed.place::text from placed where placed.id = claimed.id) as place,
    id::text,
    input::text,
    extract(epoch from timeout)::text as timeout,
    attempt,
    max_attempts,
    extract(epoch from retry_delay)::text as retry_delay,
    priority,
    extract(epoch from run_at)::text as run_at,
    (select extract(epoch from now())::text) as claimed_at,
    rest
from (
    select
        succeeded.id::text as ended_id,
        case
            when %(notifies)s::boolean
                and waiter ~ '^m25_[0-9a-z_]{1,59}$'
            then pg_notify(waiter, coalesce(original_attempt_id, id)::text)::text
        end as notified
    from succeeded
) as ended
full join claimed on false
order by claimed.priority, claimed.run_at, claimed.id;

-- survey
--
-- For each queue, in how many seconds its next pending job is due: zero or less means now; no row
-- comes back for a queue without pending jobs. And whether, of the jobs that are due later, one of
-- the first is misdated: it was created more than a second from now, and nobody scheduled it. That
-- is so where the database's clock was set back, and redate.sql mends it. Less than a second is waited
-- for: a transaction that began after this one may have been committed before this one looks.
-- And whether somebody has paused the queue; for a paused one there always is a row.
-- Reads only, a few index probes for each priority in use.
with recursive queue (name) as (
    select unnest(%(queue_name)s::text[])
),
level (queue_name, priority) as (
    select name, (
        select priority from m25.job
        where queue_name = name and status = 'pending'
        order by priority limit 1
    )
    from queue
    union all
    select queue_name, (
        select job.priority from m25.job
        where job.queue_name = level.queue_name
            and status = 'pending'
            and job.priority > level.priority
        order by job.priority limit 1
    )
    from level
    where level.priority is not null
),
next_due as (
    select
        level.queue_name,
        least(
            greatest(extract(epoch from min(first.run_at)) - extract(epoch from now()), 0), 86400
        )::float8 as due_in,
        bool_or(next.misdated) as misdated
    from level
    cross join lateral (
        select run_at from m25.job
        where job.queue_name = level.queue_name
            and status = 'pending'
            and job.priority = level.priority
            and (
                follows is null
                or (
                    (
                        select true
                        from m25.job as first
                        where first.id = job.follows
                            and first.finished_at is null
                            and first.cancelled_at is null
                        limit 1
                    ) is null
                    and (
                        select true
                        from m25.job as next
                        where next.original_attempt_id = job.follows
                            and next.finished_at is null
                            and next.cancelled_at is null
                        limit 1
                    ) is null
                )
            )
        order by run_at
        limit 1
    ) as first
    cross join lateral (
        -- Ten, since jobs that somebody scheduled may lie before one that is misdated.
        select coalesce(bool_or(created_at > now() + interval '1 second'
            and (scheduled_at is null or previous_attempt_id is not null)), false) as misdated
        from (
            select created_at, scheduled_at, previous_attempt_id from m25.job
            where job.queue_name = level.queue_name
                and status = 'pending'
                and job.priority = level.priority
                and run_at > now() + interval '1 second'
            order by run_at
            limit 10
        ) as later
    ) as next
    where level.priority is not null
    group by level.queue_name
),
paused as (
    select name, paused_at, pause_reason
    from m25.queue
    where name = any(%(queue_name)s::text[]) and paused_at is not null
)
select
    coalesce(next_due.queue_name, paused.name) as queue_name,
    coalesce(next_due.due_in, 86400) as due_in,
    coalesce(next_due.misdated, false) as misdated,
    extract(epoch from paused.paused_at)::text as paused_at,
    paused.pause_reason
from next_due
full join paused on paused.name = next_due.queue_name;

-- sweep
--
-- Take dead work from whoever stopped looking after it, for several queues at once. Any process may
-- do this at any time; there is no leader. What is dead, and how it failed, is what `is_dead` and
-- `reason_of_death` in _lifecycle.py say:
--   executing, claimed by us, lease over or its worker gone    -> failed, heartbeat_timeout, next attempt
--   executing, claimed by the original's worker, deadline over -> failed, job_timeout, next attempt
--   reserved, claimed by us, lease over or its worker gone     -> pending
--   reserved, claimed by the original's worker, longer than reserved_timeout -> pending
--   any of these whose cancel somebody has asked for           -> cancelled
-- Jobs that are lost for a second time go on one after the other, as `seconds_apart` in _lifecycle.py
-- says: one of them may have killed the worker, and the others were only beside it.
-- Where a chain has failed, the queue is told that its queue names for that; and where somebody waits
-- for its end, that is notified.
-- Where a chain ends whose job has started others, the caller cancels these in the same transaction. So
-- a row is left alone that has started some since the caller saw it.
-- Safe under concurrency: only rows are taken whose claim and lease are those that the caller saw,
-- twice; a heartbeat since then has made another lease of it. `skip locked` leaves a row that its
-- owner or another sweeper is writing; a row that was locked is re-checked, so a heartbeat that came
-- first wins. What is ended or released loses its claim token, so its late owner can write nothing.
with queue as (
    select *
    from unnest(
        %(queue_name)s::text[], %(allowed_losses)s::integer[], %(reserved_timeout)s::interval[]
    ) as q (name, allowed_losses, reserved_timeout)
),
suspect as (
    select *
    from unnest(
        %(id)s::uuid[],
        %(claim_token)s::uuid[],
        %(lease_expires_at)s::text[],
        %(has_children)s::boolean[]
    ) as s (id, claim_token, lease_expires_at, has_children)
),
dead as materialized (
    select
        job.id,
        job.status,
        job.losses as former_losses,
        job.claim_token is not null as ours,
        job.cancel_requested_at is not null
            as is_cancelled
    from m25.job
    join suspect on suspect.id = job.id
    where job.id = any(%(id)s::uuid[])
        and job.status in ('reserved', 'executing')
        and job.claim_token is not distinct from suspect.claim_token

        and coalesce(job.has_children, false) = suspect.has_children
        and case
            when job.claim_token is not null
            then extract(epoch from job.lease_expires_at)::text
                is not distinct from suspect.lease_expires_at
            when job.status = 'executing' then job.deadline < now()
            else job.reserved_at < now() - (
                select reserved_timeout from queue where queue.name = job.queue_name
            )
        end
    for no key update of job skip locked
),
held as (
    select id, is_cancelled, null::text as cancel_reason
    from dead
),
apart as (
    select
        id,
        (row_number() over (order by id) - 1)::float8 * least(
            case when former_losses = 1 then 1 else 5 end, 60::float8 / count(*) over ()
        ) as seconds
    from dead
    where status = 'executing' and not is_cancelled and ours
        and former_losses > 0
),
cancelled as (
    update m25.job
    set
        cancelled_at = now(),
        cancel_reason = coalesce(job.cancel_reason, held.cancel_reason),
        claim_token = null,
        lease_expires_at = null
    from held
    where job.id = any(array(select id from held where is_cancelled))
        and held.id = job.id
    returning job.id, job.queue_name, job.attempt, job.max_attempts, job.original_attempt_id,
        job.waiter
),
failed as (
    update m25.job
    set
        finished_at = now(),
        failure_reason = case when dead.ours then 'heartbeat_timeout' else 'job_timeout' end,
        losses = least(losses, 2147483646) + dead.ours::int,
        claim_token = null,
        lease_expires_at = null
    from dead
    left join apart on apart.id = dead.id, queue
    where job.id = any(array(select id from dead where status = 'executing' and not is_cancelled))
        and dead.id = job.id
        and queue.name = job.queue_name
    returning
        queue.allowed_losses,
        false as is_last,
        make_interval(secs => apart.seconds) as retry_after,
        job.cancel_requested_at,
        null::jsonb as error_data,
        null::text as crash_type,
        null::text as crash_message,
        job.id, job.attempt, job.original_attempt_id, job.failure_reason,
        job.queue_name, job.input, job.timeout, job.max_attempts, job.retry_delay,
        job.unique_key, job.priority, job.losses, job.meta, job.expires_at,
        job.own_retry, job.progress, job.waiter, job.parent_id, job.has_children,
        job.has_begun, job.order_key, job.messages, job.nursery, job.order_number
),
next_attempt as (
    insert into m25.job (
        scheduled_at, attempt, original_attempt_id, previous_attempt_id, queue_name,
        input, timeout, max_attempts, retry_delay, unique_key, priority, losses, meta,
        expires_at, own_retry, progress, waiter, parent_id, has_children, has_begun,
        order_key, messages, nursery, order_number
    )
    select
        now() + make_interval(
            secs => greatest(
                least(
                    extract(
                        epoch from coalesce(
                            retry_after,
                            case
                                when failure_reason = 'heartbeat_timeout' then interval '0' else retry_delay
                            end
                        )
                    ),
                    31557600000
                ),
                0
            )::float8
        ),
        least(attempt, 2147483646) + 1,
        coalesce(original_attempt_id, id),
        id,
        queue_name, input, timeout, max_attempts, retry_delay, unique_key, priority,
        losses, meta, expires_at, own_retry, progress, waiter, parent_id, has_children,
        has_begun, order_key, messages, nursery, order_number
    from failed
    where case
        when failure_reason is null then false
        when failure_reason = 'heartbeat_timeout'
        then losses <= allowed_losses
        else attempt::bigint - losses < max_attempts
    end
    returning previous_attempt_id
),
failure_told as (
    insert into m25.job (queue_name, input, timeout, attempt, max_attempts)
    select
        source.on_failure,
        jsonb_build_object(
            'job_id', coalesce(failed.original_attempt_id, failed.id),
            'queue', failed.queue_name,
            'attempts', failed.attempt,
            'reason', failed.failure_reason,
            'error', coalesce(
                failed.crash_type || coalesce(': ' || failed.crash_message, ''),
                failed.error_data::text
            ),
            'input', failed.input
        ),
        coalesce(target.default_job_timeout, interval '5 minutes'),
        1,
        coalesce(target.default_max_attempts, 1)
    from failed
    join m25.queue as source on source.name = failed.queue_name
    left join m25.queue as target on target.name = source.on_failure
    where source.on_failure is not null
        and (failed.is_last or not case
            when failure_reason is null then false
            when failure_reason = 'heartbeat_timeout'
            then losses <= allowed_losses
            else attempt::bigint - losses < max_attempts
        end)
    returning queue_name
),
key_stopped as (
    insert into m25.stopped_key (job_id, queue_name, order_key, order_number)
    select
        coalesce(failed.original_attempt_id, failed.id),
        failed.queue_name,
        failed.order_key,
        failed.order_number
    from failed
    join m25.queue on queue.name = failed.queue_name
    where failed.order_number is not null
        and queue.holds_failed
        and failed.parent_id is null
        and failed.cancel_requested_at is null
        and (failed.is_last or not case
            when failure_reason is null then false
            when failure_reason = 'heartbeat_timeout'
            then losses <= allowed_losses
            else attempt::bigint - losses < max_attempts
        end)
    on conflict do nothing
    returning job_id
),
released as (
    update m25.job
    set
        reserved_at = null,
        started_at = null,
        deadline = null,
        latest_heartbeat_at = null,
        lane = null,
        claim_token = null,
        lease_expires_at = null,
        stack_asked_at = null,
        stack = null,
        place = null
    where id = any(array(select id from dead where status = 'reserved' and not is_cancelled))
    returning id, queue_name, attempt, max_attempts
)
select
    failed.queue_name,
    failed.id::text,
    failed.failure_reason,
    next_attempt.previous_attempt_id is not null as has_next_attempt,
    failed.attempt,
    failed.max_attempts,
    false as is_cancelled,
    coalesce(failed.original_attempt_id, failed.id) in (select job_id from key_stopped) as stops_key,
    case
        when next_attempt.previous_attempt_id is null
        then case
            when %(notifies)s::boolean
                and waiter ~ '^m25_[0-9a-z_]{1,59}$'
            then pg_notify(waiter, coalesce(original_attempt_id, id)::text)::text
        end
    end as notified,
    (
        select count(pg_notify(channel, ''))
        from m25.queue
        where name = any(array(select queue_name from failure_told)) and channel is not null
            and %(notifies)s::boolean
    ) as failure_notified
from failed
left join next_attempt on next_attempt.previous_attempt_id = failed.id
union all
select queue_name, id::text, null, false, attempt, max_attempts, false, false, null, null
from released
union all
select
    queue_name,
    id::text,
    null,
    false,
    attempt,
    max_attempts,
    true,
    false,
    case
        when %(notifies)s::boolean
            and waiter ~ '^m25_[0-9a-z_]{1,59}$'
        then pg_notify(waiter, coalesce(original_attempt_id, id)::text)::text
    end as notified,
    null
from cancelled;

-- sweep_holders
--
-- Give back places whose holders are gone, and tell all who may wait for one.
-- Safe under concurrency: only rows are written whose leases are as the caller saw them, twice; one that was
-- renewed since then has another. A row that is locked is left alone: it is being renewed.
with suspect as (
    select *
    from unnest(%(id)s::uuid[], %(lease_expires_at)s::text[]) as s (id, lease_expires_at)
),
lost as materialized (
    select holder.id, holder.limiter
    from m25.limit_holder as holder
    join suspect on suspect.id = holder.id
    where holder.id = any(%(id)s::uuid[])
        and holder.limiter is not null

        and extract(epoch from holder.lease_expires_at)::text = suspect.lease_expires_at
    for update of holder skip locked
),
swept as (
    update m25.limit_holder
    set id = gen_random_uuid(), limiter = null
    where id = any(array(select id from lost))
    returning limiter
),
emptied as materialized (
    select distinct limiter from lost
)
select
    lost.limiter,
    lost.id::text,
    (
        select count(pg_notify(channel, ''))
        from m25.queue
        where limiter in (select limiter from emptied)
            and channel is not null
            and %(notifies)s::boolean
    ) as workers_told,
    (
        select count(pg_notify(%(room_channel)s::text, limiter))
        from emptied
        where %(notifies)s::boolean
    ) as waiters_told
from lost;

-- take_places
--
-- Take places of a limit outside of jobs, for those who ask, in their order, as far as there is room; the
-- limit is locked by this transaction. There always is a row if there is such a limit: it says by what it
-- counts, also where no place was taken. What is asked for with a key where there is none, or the other way
-- round, is not given.
-- What was taken by the same id before is taken still, with a new lease: so all of it may be repeated. Rows of
-- places that were given back are used again.
-- Of what gets none, the first is noted, with since when it waits; asked for again within three seconds, it
-- waits on. Once that was a second, claims leave it one place: see room.sql. And where jobs have waited for
-- a second for a place, one is left to them; they have until it is asked for again. Where both have waited,
-- they have turns.
-- Safe under concurrency: as claim_limited.sql is. All who take places, and all who claim, have the limit
-- locked when they count, and each of these statements began after it was had. Rows that were given back may be
-- taken by who has another limit locked: one that is locked, or has been taken meanwhile, is left out.
with size as materialized (
    select coalesce(set_to, declared, 2147483647) as size
    from m25.limiter
    where name = %(limiter)s::text
),
live as materialized (
    select
        job.id,
        left(coalesce(job.input #>> queue.limit_path, ''), 200) as key,
        coalesce(job.place, job.id) as place
    from m25.queue
    join m25.job on job.queue_name = queue.name
    where queue.limiter = %(limiter)s::text
        and job.queue_name = any(
            array(select name from m25.queue where limiter = %(limiter)s::text)
        )
        and job.reserved_at is not null
        and job.finished_at is null
        and job.cancelled_at is null
),
outside as materialized (
    select id, key
    from m25.limit_holder
    where limiter = %(limiter)s::text
),
awaited as materialized (
    select awaited_key as key
    from m25.limiter
    where name = %(limiter)s::text
        and awaited_since <= now() - interval '1 second'
        and asked_at > now() - interval '3 seconds'
        and not (jobs_next and coalesce(turn_at <= now(), false))
),
taken as materialized (
    select key, count(distinct place) as number
    from (
        select key, place from live
        union all
        select key, id from outside
        union all
        select key, uuid '00000000-0000-0000-0000-000000000000' from awaited
    ) as each
    group by key
),
kind as materialized (
    select
        coalesce(set_to, declared) is not null as has_limit,
        coalesce(
            (
                select bool_or(limit_path is not null)
                from m25.queue
                where queue.limiter = %(limiter)s::text
            ),
            held_path is not null
        ) as has_key,
        coalesce(turn_at <= now(), false)
            and (jobs_next or not exists (select from awaited)) as is_turn
    from m25.limiter
    where name = %(limiter)s::text
),
asked as materialized (
    select
        a.id,
        left(coalesce(a.key, ''), 200) as key,
        a.lease,
        a.nth,
        exists (select from outside where outside.id = a.id) as is_there
    from unnest(%(id)s::uuid[], %(key)s::text[], %(lease)s::interval[])
        with ordinality as a (id, key, lease, nth)
    join kind on kind.has_limit and kind.has_key = (a.key is not null)
),
ranked as materialized (
    select
        new.id,
        new.key,
        new.nth,
        row_number() over (partition by new.key order by new.nth)
            - (size.size - coalesce(taken.number, 0) + (awaited.key is not null)::integer)
            as beyond
    from asked as new
    cross join size
    left join taken on taken.key = new.key
    left join awaited on awaited.key = new.key
    where not new.is_there
),
-- The last one that would have had a place of its key.
left_over as materialized (
    select id
    from ranked
    where beyond <= 0 and (select is_turn from kind)
    order by nth desc
    limit 1
),
new as materialized (
    select ranked.id, ranked.key, asked.lease, row_number() over (order by ranked.nth) as number
    from ranked
    join asked on asked.id = ranked.id
    where ranked.beyond <= 0
        and ranked.id not in (select id from left_over)
),
given_back as materialized (
    select id
    from m25.limit_holder
    where limiter is null
    order by id
    limit (select count(*) from new)
    for update skip locked
),
spare as materialized (
    select id, row_number() over (order by id) as number from given_back
),
taken_anew as (
    update m25.limit_holder
    set
        id = new.id,
        limiter = %(limiter)s::text,
        key = new.key,
        taken_at = now(),
        lease = new.lease,
        lease_expires_at = clock_timestamp() + new.lease
    from spare
    join new on new.number = spare.number
    where limit_holder.id = any(array(select id from spare)) and limit_holder.id = spare.id
    returning limit_holder.id, limit_holder.key
),
inserted as (
    insert into m25.limit_holder (id, limiter, key, lease, lease_expires_at)
    select id, %(limiter)s::text, key, lease, clock_timestamp() + lease
    from new
    where number > (select count(*) from spare)
    returning id, key
),
renewed as (
    update m25.limit_holder
    set lease_expires_at = clock_timestamp() + lease
    where id = any(array(select id from asked where is_there)) and limiter = %(limiter)s::text
    returning id, key
),
granted as materialized (
    select id, key from taken_anew
    union all
    select id, key from inserted
    union all
    select id, key from renewed
),
refused as materialized (
    select key, nth
    from asked
    where id not in (select id from granted)
),
noted as (
    update m25.limiter
    set
        asked_at = case
            when exists (select from refused) then now()
            when awaited_key in (select key from new) then null
            else asked_at
        end,
        awaited_since = case
            when not exists (select from refused)
            then case when awaited_key in (select key from new) then null else awaited_since end

            when exists (select from new) or exists (select from left_over)
                or asked_at is null or asked_at <= now() - interval '3 seconds'
            then now()
            else awaited_since
        end,
        awaited_key = case
            when not exists (select from refused)
            then case when awaited_key in (select key from new) then null else awaited_key end
            when asked_at > now() - interval '3 seconds'
                and awaited_key <> all(array(select key from new))
            then awaited_key
            else (select key from refused order by nth limit 1)
        end,
        turn_at = case when exists (select from left_over) then null else turn_at end,
        jobs_next = case
            when exists (select from left_over) then false
            else jobs_next or exists (select from new)
        end
    where name = %(limiter)s::text
        and (
            exists (select from refused)
            -- Where others wait in another process, what they have noted stays.
            or awaited_key in (select key from new)
            or (not jobs_next and exists (select from new))
        )
    returning name
)
select
    kind.has_limit,
    kind.has_key,
    exists (select from left_over) as has_turned,
    (
        select count(pg_notify(channel, ''))
        from m25.queue
        where queue.limiter = %(limiter)s::text and channel is not null
            and exists (select from left_over)
            and %(notifies)s::boolean
    ) as workers_told,
    granted.id::text
from kind
left join granted on true;

-- take_pruning
--
-- Take the turn to look for old jobs of a queue, if nobody has had it within `gap`; a row comes back if so.
-- Safe under concurrency: the row is checked again once locked, so one of several has the turn.
update m25.queue
set pruned_at = now()
where name = %(queue_name)s::text
    and (pruned_at is null or pruned_at < now() - %(gap)s::interval)
returning name;

-- take_turn
--
-- Take the next turn of a rate for something that is no job: as much is paid at once, and the answer is how
-- many seconds from now the turn comes. So those who ask wait once, in the order in which they asked, and ask
-- no more. A row comes back where there is such a rate; it says whether the rate goes by a key. The turn is
-- taken only where a key was given just in that case.
-- Safe under concurrency: the limiter is locked by this transaction, as by all who read or write its clocks.
with rate as (
    select
        name,
        next_start_at,
        rate_interval as seconds,
        rate_burst as burst,
        exists (
            select from m25.queue
            where limiter = %(limiter)s::text and rate_path is not null
        ) as has_key,
        exists (
            select from m25.queue
            where limiter = %(limiter)s::text
                and (rate_path is not null or cost_path is not null)
        ) as has_clocks
    from m25.limiter
    where name = %(limiter)s::text and rate_interval is not null
),
clock as materialized (
    select
        has_clocks,
        seconds,
        greatest(
            coalesce(
                case
                    when has_clocks
                    then (
                        select rate_clock.next_start_at
                        from m25.rate_clock
                        where limiter = %(limiter)s::text
                            and key = coalesce(%(key)s::text, '')
                    )
                    else next_start_at
                end,
                '-infinity'
            ),
            now() - make_interval(secs => burst * seconds)
        ) as start_at,
        (least(%(cost)s::bigint, burst + 1) - 1) * seconds as ahead
    from rate
    where has_key = (%(key)s::text is not null)
),
paid as materialized (
    select
        has_clocks,
        least(
            timestamptz '9000-01-01 00:00:00+00',

            start_at + make_interval(secs => least(%(cost)s::bigint * seconds, 31557600000))
        ) as next_start_at
    from clock
),
paid_by_clock as (
    insert into m25.rate_clock (limiter, key, next_start_at)
    select %(limiter)s::text, coalesce(%(key)s::text, ''), next_start_at
    from paid
    where has_clocks
    on conflict (limiter, key) do update set next_start_at = excluded.next_start_at
),
paid_by_rate as (
    update m25.limiter
    set next_start_at = paid.next_start_at
    from paid
    where limiter.name = %(limiter)s::text and not paid.has_clocks
)
select
    rate.has_key,
    (
        select greatest(extract(epoch from start_at - now())::float8 + ahead, 0)
        from clock
    ) as wait
from rate;

-- tick
--
-- Claim ticks of schedules, and insert their jobs: both or neither, as one statement.
-- Safe under concurrency: of all who know the same latest tick, the first has the schedule's row, and
-- moves it on. The others leave out a row that is locked, or find another latest tick there: they
-- claim nothing, and look again. So nobody waits, and a row that a stranger has locked is late alone.
-- Whether the latest job is live is seen as of the statement's beginning. Nobody but who has the row
-- inserts another; a job that ends meanwhile ends a little too late for this look.
with wanted as (
    select *
    from unnest(
        %(name)s::text[],
        %(revision)s::integer[],
        %(after)s::timestamptz[],
        %(until)s::timestamptz[],
        %(overlap)s::text[],
        %(last_job_id)s::uuid[]
    ) as w (name, revision, after, until, overlap, last_job_id)
),
due as materialized (
    select
        schedule.name,
        wanted.until,
        wanted.overlap,
        coalesce(wanted.last_job_id, schedule.last_job_id) as next_job_id,
        schedule.last_job_id
    from m25.schedule
    join wanted on wanted.name = schedule.name
    where schedule.name = any(%(name)s::text[])
        and schedule.last_tick = wanted.after
        and schedule.revision = wanted.revision
        and schedule.paused_at is null
        and wanted.until <= now()
    for no key update of schedule skip locked
),
judged as materialized (
    select
        due.*,
        due.overlap <> 'allow' and exists (
            select from m25.job
            where job.id = due.last_job_id and job.finished_at is null and job.cancelled_at is null
            union all
            select from m25.job
            where job.original_attempt_id = due.last_job_id
                and job.finished_at is null
                and job.cancelled_at is null
        ) as is_live
    from due
),
ticked as (
    update m25.schedule
    set
        last_tick = judged.until,
        last_job_id = case
            when judged.is_live then judged.last_job_id else judged.next_job_id
        end
    from judged
    where schedule.name = judged.name
        and schedule.name = any(%(name)s::text[])
        and (not judged.is_live or judged.overlap = 'skip')
    returning schedule.name, judged.is_live
),
wanted_job as (
    select
        schedule_name,
        id,
        coalesce(queue_name, (%(queue_name)s::text[])[1]) as queue_name,
        scheduled_at,
        coalesce(input, (%(input)s::jsonb[])[1]) as input,
        coalesce(timeout, (%(timeout)s::interval[])[1]) as timeout,
        coalesce(max_attempts, (%(max_attempts)s::integer[])[1]) as max_attempts,
        coalesce(retry_delay, (%(retry_delay)s::interval[])[1]) as retry_delay,
        unique_key,
        coalesce(priority, (%(priority)s::smallint[])[1]) as priority,
        meta,
        expires_at,
        own_retry,
        waiter,
        parent_id,
        lane,
        order_key,
        case when order_key is not null then m25.next_order_number() end as order_number
    from unnest(
        %(schedule_name)s::text[],
        %(id)s::uuid[],
        %(queue_name)s::text[],
        %(scheduled_at)s::timestamptz[],
        %(input)s::jsonb[],
        %(timeout)s::interval[],
        %(max_attempts)s::integer[],
        %(retry_delay)s::interval[],
        %(unique_key)s::text[],
        %(priority)s::smallint[],
        %(meta)s::jsonb[],
        %(expires_at)s::timestamptz[],
        %(own_retry)s::boolean[],
        %(waiter)s::text[],
        %(parent_id)s::uuid[],
        %(lane)s::text[],
        %(order_key)s::text[]
    ) as w (
        schedule_name,
        id, queue_name, scheduled_at, input, timeout, max_attempts, retry_delay,
        unique_key, priority, meta, expires_at, own_retry, waiter, parent_id, lane,
        order_key
    )
),
inserted as (
    insert into m25.job (
        attempt,
        order_number,
        id, queue_name, scheduled_at, input, timeout, max_attempts, retry_delay,
        unique_key, priority, meta, expires_at, own_retry, waiter, parent_id, lane,
        order_key
    )
    select
        1,
        order_number,
        id, queue_name, scheduled_at, input, timeout, max_attempts, retry_delay,
        unique_key, priority, meta, expires_at, own_retry, waiter, parent_id, lane,
        order_key
    from wanted_job
    where schedule_name in (select name from ticked where not is_live)
    order by id
    on conflict do nothing
    returning id
)
select
    judged.name,
    judged.is_live,
    ticked.name is not null as is_ticked,
    (
        select count(pg_notify(channel, ''))
        from unnest(%(channels)s::text[]) as channel
        where %(notifies)s::boolean and exists (select from inserted)
    ) as notified
from judged
left join ticked on ticked.name = judged.name;

-- watch
--
-- Have the ends of chains notified: write into the latest attempt of each on which channel, and read it.
-- The next attempt has it from there. Where another process waits, too, it is the channel of all.
-- Safe under concurrency: rows are locked in id order, and one that somebody has locked is left out: it
-- keeps none of the others waiting. A row that has ended by the time it is locked is left alone. In
-- both cases it says that it is not watched, and the caller asks again.
with latest as materialized (
    select asked.id as asked, attempt.id as latest_id
    from unnest(%(id)s::uuid[]) as asked (id)
    join m25.job as named on named.id = asked.id
    cross join lateral (
        select first.id, first.attempt
        from m25.job as first
        where first.id = coalesce(named.original_attempt_id, named.id)
        union all
        select next.id, next.attempt
        from m25.job as next
        where next.original_attempt_id = coalesce(named.original_attempt_id, named.id)
        order by attempt desc
        limit 1
    ) as attempt
    where named.id = any(%(id)s::uuid[])
),
unwatched as materialized (
    select id
    from m25.job
    where id = any(array(select latest_id from latest))
        and finished_at is null
        and cancelled_at is null
        and (waiter is null or waiter not in (%(waiter)s::text, %(all_waiters)s::text))
    order by id
    for no key update skip locked
),
watched as (
    update m25.job
    set waiter = case when waiter is null then %(waiter)s::text else %(all_waiters)s::text end
    where id = any(array(select id from unwatched))
    returning id as watched_id
)
select
    latest.asked::text,
    watched_id is not null
        or job.waiter in (%(waiter)s::text, %(all_waiters)s::text) as is_watched,
    id::text,
    queue_name,
    extract(epoch from created_at)::text as created_at,
    extract(epoch from scheduled_at)::text as scheduled_at,
    input::text,
    extract(epoch from reserved_at)::text as reserved_at,
    extract(epoch from started_at)::text as started_at,
    extract(epoch from cancelled_at)::text as cancelled_at,
    extract(epoch from finished_at)::text as finished_at,
    extract(epoch from timeout)::text as timeout,
    status,
    output::text,
    extract(epoch from deadline)::text as deadline,
    extract(epoch from latest_heartbeat_at)::text as latest_heartbeat_at,
    failure_reason,
    error_data::text,
    attempt,
    max_attempts,
    original_attempt_id::text,
    previous_attempt_id::text,
    extract(epoch from retry_delay)::text as retry_delay,
    unique_key,
    priority,
    losses,
    crash_type,
    crash_message,
    crash_traceback,
    meta::text,
    extract(epoch from expires_at)::text as expires_at,
    own_retry,
    extract(epoch from cancel_requested_at)::text as cancel_requested_at,
    cancelled_by,
    cancel_reason,
    setup_failures,
    progress::text,
    waiter,
    parent_id::text,
    has_children,
    has_begun,
    follows::text,
    extract(epoch from unknown_since)::text as unknown_since,
    session_losses,
    lane,
    order_key,
    extract(epoch from was_due_at)::text as was_due_at
from latest
join m25.job on job.id = latest.latest_id
left join watched on watched.watched_id = latest.latest_id
where job.id = any(array(select latest_id from latest));

-- workers
--
-- The workers of which something was heard within `silence`, and that have not ended. Reads only; there
-- is a row for each, and so there are few.
select
    id::text,
    version,
    queues,
    extract(epoch from started_at)::text as started_at,
    greatest(extract(epoch from now() - latest_heartbeat_at), 0)::float8 as silent_for
from m25.worker
where ended_at is null and latest_heartbeat_at > now() - %(silence)s::interval
order by worker.started_at, worker.id
limit 1000;
