-- Hand claimed jobs back: pending again, the attempt not counted, nothing of the claim left.
-- Safe under concurrency: rows are locked in id order, so batches cannot deadlock; only a row that is
-- live under the caller's own claim token is written. `channels` are told in the same commit.
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
released as (
    update {schema}.job
    set
        reserved_at = null,
        started_at = null,
        deadline = null,
        latest_heartbeat_at = null,
        claim_token = null,
        lease_expires_at = null
    where id = any(array(select id from held))
    returning id
)
select
    id::text,
    (select count(pg_notify(channel, '')) from unnest(%(channels)s::text[]) as channel) as told
from released
