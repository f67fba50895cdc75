-- Record the heartbeats of claimed jobs and renew their leases; the ids that come back are still
-- held by their claims.
-- Safe under concurrency: rows are locked in id order, so batches cannot deadlock; a row that has
-- another token or is no longer live is not written and not returned. A reserved row's lease never
-- outlasts `reserved_timeout`, however long its executor goes on initialising.
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
)
update {schema}.job
set
    latest_heartbeat_at = now(),
    lease_expires_at = case
        when status = 'reserved'
        then least(
            now() + %(lease)s::interval, reserved_at + %(reserved_timeout)s::interval
        )
        else now() + %(lease)s::interval
    end
where id = any(array(select id from held))
returning id::text
