-- Put new jobs in the place of those that have their keys and that no worker has claimed: those keep their
-- ids, and have the inputs and the options of the new ones; where `moves`, also their time.
-- Safe under concurrency: the caller has locked the keys, so nobody else puts a job in the same place. The
-- condition is checked again on the row as it is once locked, so a job that was claimed or cancelled
-- meanwhile is left alone, and does not come back: the caller looks again. Rows are locked in order.
-- `channels` are notified in the same commit.
with wanted as (
    select
        {wanted_of_each},
        twin_id,
        moves
    from unnest(
        {given_arrays},
        %(twin_id)s::uuid[],
        %(moves)s::boolean[]
    ) as w (
        {wanted_columns},
        twin_id,
        moves
    )
),
held as materialized (
    select id
    from {schema}.job
    where id = any(%(twin_id)s::uuid[])
        and has_begun = false -- rule: what has begun keeps its input
        and reserved_at is null
        and cancelled_at is null
    order by id
    for no key update
)
update {schema}.job
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
        then {schema}.next_order_number()
        else order_number
    end
from wanted
where id = any(array(select id from held))
    and id = twin_id
returning
    {job_row},
    (
        select count(pg_notify(channel, '')) from unnest(%(channels)s::text[]) as channel
    ) as notified
