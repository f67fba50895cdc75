-- Insert a new job: `enqueue` for a batch of one, at half the price, for who enqueues one by one.
-- Safe under concurrency: a row whose id or unique key exists is skipped by the index itself, never
-- an error, so a caller's transaction stays usable; an id or a key being inserted by another
-- transaction is waited for. `channel`, if any, is notified in the same commit.
with {bounded}
insert into {schema}.job (
    attempt,
    order_number,
    {given_columns}
)
select
    1,
    case when %(order_key)s::text is not null then {schema}.next_order_number() end,
    {given_values}
from bounded
on conflict do nothing -- rule: an enqueue can be repeated
returning
    id::text,
    extract(epoch from created_at)::text as created_at,
    case when %(channel)s::text is not null then pg_notify(%(channel)s::text, '')::text end
        as notified
