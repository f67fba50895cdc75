-- End attempts: write each one's outcome and, where the retry rule says so, insert the next attempt,
-- in one statement and so in one transaction.
-- Safe under concurrency: rows are locked in id order, so batches cannot deadlock; only a row that
-- is executing under the outcome's own claim token is written, so a worker that lost its claim
-- changes nothing. The next attempt's id was made by the caller, so a repeat after a lost answer
-- inserts nothing twice. The ids that come back are those settled by this very statement.
-- Numbers and delays are kept within what their types can hold: a row may hold any. Delays are
-- counted in seconds, as deadlines are in claim.sql.
-- The retry rule: an attempt lost with its process is followed by another up to `allowed_losses`
-- times in a chain; any other failure while attempt - losses < max_attempts.
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
        %(next_attempt_id)s::uuid[]
    ) as o (
        id, claim_token, failure_reason, output, error_data, crash_type, crash_message,
        crash_traceback, next_attempt_id
    )
),
held as materialized (
    select job.id
    from {schema}.job
    join outcome on outcome.id = job.id and outcome.claim_token = job.claim_token
    where job.id = any(%(id)s::uuid[])
        and job.status = 'executing'
    order by job.id
    for update of job
),
settled as (
    update {schema}.job
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
        job.id, job.queue_name, job.input, job.timeout, job.attempt, job.max_attempts,
        job.original_attempt_id, job.retry_delay, job.unique_key, job.priority, job.losses,
        job.meta, job.failure_reason, outcome.next_attempt_id
),
next_attempt as (
    insert into {schema}.job (
        id, queue_name, scheduled_at, input, timeout, attempt, max_attempts,
        original_attempt_id, previous_attempt_id, retry_delay, unique_key, priority, losses, meta
    )
    select
        next_attempt_id, queue_name,
        now() + make_interval(
            secs => greatest(least(extract(epoch from retry_delay), 31557600000), 0)::float8
        ),
        input, timeout, least(attempt, 2147483646) + 1,
        max_attempts, coalesce(original_attempt_id, id), id, retry_delay, unique_key, priority,
        losses, meta
    from settled
    where case
        when failure_reason is null then false
        when failure_reason = 'heartbeat_timeout' then losses <= %(allowed_losses)s::integer
        else attempt::bigint - losses < max_attempts
    end
    on conflict (id) do nothing
    returning previous_attempt_id
)
select settled.id::text, next_attempt.previous_attempt_id is not null as has_next_attempt
from settled
left join next_attempt on next_attempt.previous_attempt_id = settled.id
