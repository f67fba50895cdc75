-- Cancel a job if it is pending. Safe under concurrency: the update's own condition is checked again
-- on the row as it is once locked, so a job that was claimed meanwhile is left alone and no row comes
-- back. It says "pending" without naming the status, so that the row is found by its id, and never by
-- a walk over all that is pending on its queue. Whoever waits for the job is notified. A job that has
-- started others is left alone, unless the caller cancels these in the same transaction.
with {bounded}
update {schema}.job
set cancelled_at = now(), cancelled_by = %(by)s::text, cancel_reason = %(reason)s::text
from bounded
where id = %(id)s::uuid
    and queue_name = %(queue_name)s::text
    and reserved_at is null -- rule: only a pending job is cancelled
    and cancelled_at is null
    -- rule: what has started others is cancelled with these
    and (has_children is not true or %(with_children)s::boolean)
returning
    {job_row},
    {end_notified} as notified
