-- Insert jobs that executing jobs start and wait for, each under its parent's claim.
-- Safe under concurrency: the parent's row is locked while its children are inserted. Whoever cancels
-- a tree, or ends the parent, locks that row, too: so it either comes later, and its next statement
-- sees these children; or it came first, and they are not inserted. A parent that somebody else has
-- locked keeps no other waiting. As in enqueue.sql, a row whose id or key exists is skipped: the ids
-- are made from the parent's, so a repeat finds what it has inserted.
with {bounded},
wanted as (
    select
        {given_of_each},
        parent_attempt_id,
        parent_token,
        nursery,
        {order_number}
    from unnest(
        {given_arrays},
        %(parent_attempt_id)s::uuid[],
        %(parent_token)s::uuid[],
        %(nursery)s::text[]
    ) as w (
        {given_columns},
        parent_attempt_id,
        parent_token,
        nursery
    )
),
parent as (
    select distinct parent_attempt_id, parent_token
    from wanted
),
held as materialized (
    select job.id, parent.parent_token
    from {schema}.job
    join parent
        on parent.parent_attempt_id = job.id
        and parent.parent_token = job.claim_token -- rule: a child is started by its parent's own claim
    where job.id = any(%(parent_attempt_id)s::uuid[])
        and job.status = 'executing'
        and job.cancel_requested_at is null -- rule: what is to be cancelled starts no more children
    order by job.id
    for no key update of job skip locked
),
noted as (
    update {schema}.job
    set has_children = true
    where id = any(array(select id from held)) -- rule: a parent is known as one
        and has_children is not true
    returning id
),
inserted as (
    insert into {schema}.job (
        attempt,
        nursery,
        order_number,
        {given_columns}
    )
    select
        1,
        nursery,
        order_number,
        {given_columns_of_wanted}
    from bounded, wanted
    join held on held.id = wanted.parent_attempt_id and held.parent_token = wanted.parent_token
    order by wanted.unique_key, wanted.id
    on conflict do nothing
    returning id, created_at
)
select
    id::text,
    extract(epoch from created_at)::text as created_at,
    (select count(pg_notify(channel, '')) from unnest(%(channels)s::text[]) as channel) as notified,
    (select count(*) from noted) as noted
from inserted
