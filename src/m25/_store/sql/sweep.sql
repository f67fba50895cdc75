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
        job.cancel_requested_at is not null -- rule: a lost job's cancel is not lost
            as is_cancelled
    from {schema}.job
    join suspect on suspect.id = job.id
    where job.id = any(%(id)s::uuid[])
        and job.status in ('reserved', 'executing')
        and job.claim_token is not distinct from suspect.claim_token
        -- rule: a job is swept as the parent that it is
        and coalesce(job.has_children, false) = suspect.has_children
        and case
            when job.claim_token is not null
            then extract(epoch from job.lease_expires_at)::text
                is not distinct from suspect.lease_expires_at -- rule: a heartbeat saves its job
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
        and former_losses > 0 -- rule: what is lost again goes on apart
),
{cancelled},
failed as (
    update {schema}.job
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
        {failed_columns}
),
next_attempt as (
    insert into {schema}.job (
        {next_attempt_columns}
    )
    select
        {next_attempt}
    from failed
    where {has_next_attempt}
    returning previous_attempt_id
),
{failure_told},
{key_stopped},
released as (
    update {schema}.job
    set
        {released}
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
        then {end_notified}
    end as notified,
    {failure_notified}
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
    {end_notified} as notified,
    null
from cancelled
