-- The columns of the next attempt, from those of the one that has failed. Numbers and delays are
-- kept within what their types can hold: a row may hold any. Delays are counted in seconds, as
-- deadlines are.
-- What was lost with its process is followed at once, whatever its retry delay, unless it is to go on
-- apart from others.
-- rule: a retry waits
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
coalesce(original_attempt_id, id), -- rule: a retry names its chain
id,
{inherited_columns}
