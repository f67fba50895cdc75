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
{held_outcomes},
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
    where {with_outcome}
    returning
        outcome.next_attempt_id,
        outcome.retry_after,
        job.cancel_requested_at,
        job.error_data,
        job.crash_type,
        job.crash_message,
        {failed_columns}
),
failed as (
    select
        *,
        next_attempt_id is null
            or cancel_requested_at is not null -- rule: what is to be cancelled ends
            as is_last,
        %(allowed_losses)s::integer as allowed_losses
    from settled
    where failure_reason is not null
),
next_attempt as (
    insert into {schema}.job (
        id,
        {next_attempt_columns}
    )
    select
        next_attempt_id,
        {next_attempt}
    from failed
    where not is_last and {has_next_attempt}
    on conflict (id) do nothing
    returning previous_attempt_id
),
{failure_told},
{key_stopped}
select
    settled.id::text,
    next_attempt.previous_attempt_id is not null as has_next_attempt,
    coalesce(settled.original_attempt_id, settled.id) in (select job_id from key_stopped) as stops_key,
    case
        when next_attempt.previous_attempt_id is null
        then {end_notified}
    end as notified,
    {failure_notified}
from settled
left join next_attempt on next_attempt.previous_attempt_id = settled.id
