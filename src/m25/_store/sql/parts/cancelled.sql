-- Of what a call has `held`, that whose cancel was asked for ends so. Nothing of the claim is left by
-- which its late owner could write; whoever waits for the job is notified.
cancelled as (
    update {schema}.job
    set
        cancelled_at = now(),
        cancel_reason = coalesce(job.cancel_reason, held.cancel_reason),
        claim_token = null,
        lease_expires_at = null
    from held
    where job.id = any(array(select id from held where is_cancelled))
        and held.id = job.id
    returning job.id, job.queue_name, job.attempt, job.max_attempts, job.original_attempt_id,
        job.waiter
)
