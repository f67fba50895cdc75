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
            and coalesce(job.messages, 0) <> wanted.messages -- rule: no message is slept through
            as has_message,
        wanted.cancel_reason is not null
            or job.cancel_requested_at is not null -- rule: a cancel is not lost
            as is_cancelled
    from {schema}.job
    join wanted
        on wanted.id = job.id
        and wanted.claim_token = job.claim_token
    where job.id = any(%(id)s::uuid[])
        and job.status in ('reserved', 'executing')
    order by job.id
    for no key update of job skip locked
),
{cancelled},
{newer_line},
released as (
    update {schema}.job
    set
        scheduled_at = case
            when held.has_message then now()
            when held.is_newer
                then (
                    select least(
                        next_look.at,
                        coalesce(job.unknown_since, now()) + interval '15 minutes' -- rule: nothing stands in line for too long
                    )
                    from next_look
                    where next_look.id = held.id
                )
            else coalesce(to_timestamp(held.until), now() + held.delay, job.scheduled_at)
        end,
        awaits = case when not held.has_message then held.awaits end,
        -- What has been started in time runs again whenever that is.
        expires_at = case
            when job.started_at is null -- rule: what has begun does not expire
                or held.is_newer -- rule: what is left to newer workers has not begun
                or held.claimed_ahead -- rule: what was claimed ahead expires as ever
            then job.expires_at
        end,
        unknown_since = case
            when held.is_newer
            then coalesce(job.unknown_since, now()) -- rule: newer workers are waited for once
            when held.claimed_ahead then job.unknown_since -- rule: what was claimed ahead stays in its line
        end,
        setup_failures = case
            when held.setup_failed
            then least(coalesce(job.setup_failures, 0), 2147483646) + 1
            else job.setup_failures
        end,
        session_losses = case
            when held.session_lost
            then least(coalesce(job.session_losses, 0), 2147483646) + 1
            when held.claimed_ahead then job.session_losses -- rule: what was claimed ahead keeps its losses
        end,
        {released}
    from held
    where job.id = any(
            array(select id from held where not is_cancelled) -- rule: a job is released by its own claim
        )
        and held.id = job.id
    returning job.id
),
unspent as (
    select rate.name, rate.rate_interval, count(*) as number
    from held
    join {schema}.queue on queue.name = held.queue_name
    join {schema}.limiter as rate on rate.name = queue.limiter
    where held.is_newer
        and not held.is_cancelled
        -- By then more may have been saved up than a rate lets be.
        -- rule: a token is not given back late
        and held.reserved_at > now() - make_interval(secs => rate.rate_interval)
    group by rate.name
),
given_back as (
    update {schema}.limiter
    -- rule: what is left to newer workers spends no token
    set next_start_at = limiter.next_start_at
            - make_interval(secs => least(unspent.number * unspent.rate_interval, 31557600000))
    from unspent
    where limiter.name = unspent.name
        and limiter.name = any(array(
            select name from {schema}.limiter
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
    {end_notified} as notified
from cancelled
