-- No attempt follows this one: a job is its latest attempt. With a limit it stays a probe for each row that
-- is asked: without, it may be a walk over all rows, put in a hash.
(
    select true
    from {schema}.job as next
    where next.original_attempt_id = coalesce(job.original_attempt_id, job.id)
        and next.attempt > job.attempt
    limit 1
) is null
