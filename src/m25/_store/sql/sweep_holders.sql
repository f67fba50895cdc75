-- Give back places whose holders are gone, and tell all who may wait for one.
-- Safe under concurrency: only rows are written whose leases are as the caller saw them, twice; one that was
-- renewed since then has another. A row that is locked is left alone: it is being renewed.
with suspect as (
    select *
    from unnest(%(id)s::uuid[], %(lease_expires_at)s::text[]) as s (id, lease_expires_at)
),
lost as materialized (
    select holder.id, holder.limiter
    from {schema}.limit_holder as holder
    join suspect on suspect.id = holder.id
    where holder.id = any(%(id)s::uuid[])
        and holder.limiter is not null
        -- rule: a renewal saves its place
        and extract(epoch from holder.lease_expires_at)::text = suspect.lease_expires_at
    for update of holder skip locked
),
swept as (
    update {schema}.limit_holder
    set id = gen_random_uuid(), limiter = null
    where id = any(array(select id from lost))
    returning limiter
),
emptied as materialized (
    select distinct limiter from lost
)
select
    lost.limiter,
    lost.id::text,
    {room_told}
from lost
