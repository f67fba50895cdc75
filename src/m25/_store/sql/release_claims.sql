-- Hand back whatever a claim took whose answer was lost: its rows are known by its token alone.
-- Safe under concurrency: the token is nobody else's, and rows are locked in id order. They are found
-- first, without an order, since a walk in id order would be over the whole table.
with taken as materialized (
    select id
    from {schema}.job
    where queue_name = %(queue_name)s::text
        and reserved_at is not null
        and finished_at is null
        and cancelled_at is null
        and claim_token = any(%(claim_token)s::uuid[])
),
held as materialized (
    select id
    from {schema}.job
    where id = any(array(select id from taken))
        and finished_at is null
        and claim_token = any(%(claim_token)s::uuid[])
    order by id
    for update
)
update {schema}.job
set
    reserved_at = null,
    started_at = null,
    deadline = null,
    latest_heartbeat_at = null,
    claim_token = null,
    lease_expires_at = null
where id = any(array(select id from held))
returning id::text
