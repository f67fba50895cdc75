-- What settle.sql and settle_and_claim.sql do with the attempts that have ended.
outcome as (
    select *
    from unnest(
        %(id)s::uuid[],
        %(token)s::uuid[],
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
{failure_told}
