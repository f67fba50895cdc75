-- Renew the leases of places that are held outside of jobs; the ids that come back are held still, each
-- with whether its lease was renewed. Where it was not, somebody has locked the row for now.
-- Safe under concurrency: a row that is locked keeps none of the others waiting. One that was swept has
-- another id. A lease begins when its row is locked, as in heartbeat.sql.
with held as materialized (
    select id
    from {schema}.limit_holder
    where id = any(%(id)s::uuid[]) and limiter is not null
    order by id
    for no key update skip locked
),
renewed as (
    update {schema}.limit_holder
    set lease_expires_at = clock_timestamp() + lease
    where id = any(array(select id from held))
    returning id
)
select limit_holder.id::text, renewed.id is not null as is_renewed
from {schema}.limit_holder
left join renewed on renewed.id = limit_holder.id
where limit_holder.id = any(%(id)s::uuid[])
