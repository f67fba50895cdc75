-- Make sure of claims whose commit was not acknowledged, and that have begun all the same: a row that
-- carries the claim's token is held; one that is pending again, as a server that went down at the
-- commit leaves it, is claimed once more. The ids that come back are held.
-- Safe under concurrency: rows are locked in id order, so batches cannot deadlock. Where the commit in
-- question is still under way, the lock waits for it, and the row is looked at again as it is then; a
-- row that somebody else has claimed meanwhile is left alone.
with wanted as (
    {wanted}
),
held as materialized (
    select job.id
    from {schema}.job
    join wanted on wanted.id = job.id
    where job.id = any(%(id)s::uuid[])
        and job.finished_at is null
        and job.cancelled_at is null
        and (
            job.reserved_at is null
            or job.started_at is not null and job.claim_token = wanted.claim_token
        )
    order by job.id
    for no key update of job
)
update {schema}.job
set
    reserved_at = coalesce(job.reserved_at, now()),
    claim_token = wanted.claim_token,
    started_at = coalesce(job.started_at, now()),
    deadline = coalesce(
        job.deadline,
        {deadline}
    ),
    lease_expires_at = now() + %(lease)s::interval
from wanted
where job.id = any(array(select id from held))
    and wanted.id = job.id
returning job.id::text
