-- Ask for the cancel of a job that is claimed: its owner ends it, or whoever sweeps it.
-- Safe under concurrency: the condition is checked again on the row as it is once locked; the owner's
-- own writes are not hindered, since none of them looks at what this one writes but to end the job.
-- Of several requests the first counts. The workers of the queue are notified, of whom one is the
-- owner. A row without a claim token has an owner that knows of no requests.
with {bounded}
update {schema}.job
set
    cancel_requested_at = coalesce(cancel_requested_at, now()),
    cancelled_by = case
        when cancel_requested_at is null then %(by)s::text else cancelled_by
    end,
    cancel_reason = case
        when cancel_requested_at is null then %(reason)s::text else cancel_reason
    end
from bounded
where id = %(id)s::uuid
    and queue_name = %(queue_name)s::text
    and reserved_at is not null
    and finished_at is null -- rule: only a live job is asked to be cancelled
    and cancelled_at is null
    and claim_token is not null
returning
    {job_row},
    case when %(notifies)s::boolean then pg_notify(%(channel)s::text, id::text)::text end
        as notified
