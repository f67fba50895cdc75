-- Promote reserved jobs to executing, once their executors have initialised.
-- Safe under concurrency: rows are locked in id order, so batches cannot deadlock, and only a row
-- that still carries the claim's token and is still reserved is written. A repeat after a lost
-- answer finds the row executing under the same token, and returns it again unchanged.
-- The deadline is that of claim.sql.
with wanted as (
    select * from unnest(%(id)s::uuid[], %(claim_token)s::uuid[]) as w (id, claim_token)
),
held as materialized (
    select job.id
    from {schema}.job
    join wanted on wanted.id = job.id and wanted.claim_token = job.claim_token
    where job.id = any(%(id)s::uuid[])
        and job.status in ('reserved', 'executing')
    order by job.id
    for update of job
),
started as (
    update {schema}.job
    set
        started_at = coalesce(started_at, now()),
        deadline = coalesce(
            deadline,
            now() + make_interval(
                secs => greatest(least(extract(epoch from timeout), 31557600000), 0)::float8
            )
        ),
        lease_expires_at = now() + %(lease)s::interval
    where id = any(array(select id from held))
    returning id, started_at, deadline
)
select
    id::text,
    extract(epoch from started_at)::text as started_at,
    extract(epoch from deadline)::text as deadline
from started
