-- Nothing that the job follows is still to end. It is decided here, at the claim, and not written by
-- whatever ends the job that is followed: so none of the many ways to end one can forget it, and none costs
-- more. Whoever sees that job live although it has just ended, claims this one a moment later.
-- With a limit these stay probes for each such job: without, one may be a walk over all rows, put in a hash.
(
    follows is null
    or (
        (
            select true
            from {schema}.job as first
            where first.id = job.follows
                and first.finished_at is null
                and first.cancelled_at is null
            limit 1
        ) is null
        and (
            select true
            from {schema}.job as next
            where next.original_attempt_id = job.follows
                and next.finished_at is null
                and next.cancelled_at is null
            limit 1
        ) is null
    )
)
