-- Release whatever a claim took whose answer was lost: its rows are known by its token alone.
-- Safe under concurrency: the token is nobody else's, and rows are locked in id order; one that
-- somebody else has locked is left to its lease; so is one that is to be cancelled and has started
-- others: whoever sweeps it cancels these, too. They are found first, without an order, since a walk
-- in id order would be over the whole table. What somebody wants cancelled is cancelled.
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
    select id, null::text as cancel_reason, cancel_requested_at is not null as is_cancelled
    from {schema}.job
    where id = any(array(select id from taken))
        and finished_at is null
        and cancelled_at is null
        and claim_token = any(%(claim_token)s::uuid[])
        -- rule: a tree is not ended by its top alone
        and (cancel_requested_at is null or has_children is not true)
    order by id
    for no key update skip locked -- rule: a locked row is left to its lease
),
{cancelled},
released as (
    update {schema}.job
    set
        {released}
    where id = any(array(select id from held where not is_cancelled))
    returning id
)
select id::text, null as notified
from released
union all
select
    id::text,
    {end_notified} as notified
from cancelled
