-- The outcomes of attempts that have succeeded, and the rows that they are written to.
outcome as (
    select *
    from unnest(
        %(id)s::uuid[], %(token)s::uuid[], %(output)s::jsonb[]
    ) as o (id, claim_token, output)
),
{held_outcomes},
succeeded as (
    update {schema}.job
    set
        finished_at = now(),
        output = outcome.output
    from outcome
    where {with_outcome}
    returning job.id, job.original_attempt_id, job.waiter, job.place
)
