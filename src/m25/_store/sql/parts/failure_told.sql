-- A job for the queue that a queue names for its failures, of each chain that has failed. It is written
-- with the chain's end: whoever ends the chain, this is neither lost nor done twice.
failure_told as (
    insert into {schema}.job (queue_name, input, timeout, attempt, max_attempts)
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
    join {schema}.queue as source on source.name = failed.queue_name
    left join {schema}.queue as target on target.name = source.on_failure
    where source.on_failure is not null
        and (failed.is_last or not {has_next_attempt}) -- rule: the end of a chain is told
    returning queue_name
)
