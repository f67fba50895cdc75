-- Make sure of claims whose commit was not acknowledged, and that have begun all the same: a row that
-- carries the claim's token is held; one that is pending again, as a server that went down at the
-- commit leaves it, is claimed once more; but for one whose input may have been replaced since. The ids that come
-- back are held.
-- Safe under concurrency: a row that is locked, perhaps by the very commit in question, is left out,
-- and find_locked.sql tells of it; a row that somebody else has claimed meanwhile is left alone.
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
            -- rule: an undone claim of a job that may have another input by now stays undone
            and job.has_begun is not false
            or job.started_at is not null and job.claim_token = wanted.claim_token
        )
    order by job.id
    for no key update of job skip locked -- rule: a locked row is not waited for to confirm the others
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
