-- Take dead work from whoever stopped looking after it, for several queues at once, at most `limit`
-- rows. Any process may do this at any time; there is no leader.
--   executing, claimed by us, lease over       -> failed, heartbeat_timeout, next attempt
--   executing, claimed by the original's worker, deadline over -> failed, job_timeout, next attempt
--   reserved, claimed by us, lease over        -> pending
--   reserved, claimed by the original's worker, longer than reserved_timeout -> pending
-- Safe under concurrency: `skip locked` leaves a row that its owner or another sweeper is writing;
-- a row that was locked is re-checked, so a heartbeat that came first wins. What is ended or handed
-- back loses its claim token, so its late owner can write nothing.
-- Numbers and delays are kept within what their types can hold, and the retry rule is that of
-- settle.sql.
with queue as (
    select *
    from unnest(
        %(queue_name)s::text[], %(allowed_losses)s::integer[], %(reserved_timeout)s::interval[]
    ) as q (name, allowed_losses, reserved_timeout)
),
dead as materialized (
    select job.id, job.status, job.claim_token is not null as ours
    from queue
    join {schema}.job on job.queue_name = queue.name
    where job.queue_name = any(%(queue_name)s::text[])
        and job.reserved_at is not null
        and job.finished_at is null
        and job.cancelled_at is null
        and case
            when job.claim_token is not null then job.lease_expires_at < now()
            when job.status = 'executing' then job.deadline < now()
            else job.reserved_at < now() - queue.reserved_timeout
        end
    limit %(limit)s::bigint
    for update of job skip locked
),
failed as (
    update {schema}.job
    set
        finished_at = now(),
        failure_reason = case when dead.ours then 'heartbeat_timeout' else 'job_timeout' end,
        losses = least(losses, 2147483646) + dead.ours::int,
        claim_token = null,
        lease_expires_at = null
    from dead
    where job.id = any(array(select id from dead where status = 'executing'))
        and dead.id = job.id
    returning
        job.id, job.queue_name, job.input, job.timeout, job.attempt, job.max_attempts,
        job.original_attempt_id, job.retry_delay, job.unique_key, job.priority, job.losses,
        job.meta, job.failure_reason
),
next_attempt as (
    insert into {schema}.job (
        queue_name, scheduled_at, input, timeout, attempt, max_attempts, original_attempt_id,
        previous_attempt_id, retry_delay, unique_key, priority, losses, meta
    )
    select
        failed.queue_name,
        now() + make_interval(
            secs => greatest(least(extract(epoch from retry_delay), 31557600000), 0)::float8
        ),
        input, timeout, least(attempt, 2147483646) + 1, max_attempts,
        coalesce(original_attempt_id, id), id, retry_delay, unique_key, priority, losses, meta
    from failed
    join queue on queue.name = failed.queue_name
    where case
        when failure_reason = 'heartbeat_timeout' then losses <= queue.allowed_losses
        else attempt::bigint - losses < max_attempts
    end
    returning previous_attempt_id
),
returned as (
    update {schema}.job
    set
        reserved_at = null,
        latest_heartbeat_at = null,
        claim_token = null,
        lease_expires_at = null
    where id = any(array(select id from dead where status = 'reserved'))
    returning id, queue_name, attempt, max_attempts
)
select
    failed.queue_name,
    failed.id::text,
    failed.failure_reason,
    next_attempt.previous_attempt_id is not null as has_next_attempt,
    failed.attempt,
    failed.max_attempts
from failed
left join next_attempt on next_attempt.previous_attempt_id = failed.id
union all
select queue_name, id::text, null, false, attempt, max_attempts
from returned
