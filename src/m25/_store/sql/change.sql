-- Change a job while it is pending: when it is due, or its priority. One that is held up waits for its new time,
-- and then for its key, if it must. Safe under concurrency: the update's
-- own condition is checked again on the row as it is once locked, so a job that was claimed meanwhile is
-- left alone and no row comes back. Its queue's workers are notified: it may be due now.
with {bounded}
update {schema}.job
set
    scheduled_at = case
        when %(reschedule)s::boolean
        then %(scheduled_at)s::timestamptz
        else scheduled_at
    end,
    -- rule: what is put off is held up no more
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
    and reserved_at is null -- rule: only a pending job is changed
    and cancelled_at is null
returning
    {job_row},
    case when %(notifies)s::boolean then pg_notify(%(channel)s::text, '')::text end as notified
