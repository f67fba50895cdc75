-- Insert new jobs.
-- Safe under concurrency: a row whose id or unique key exists is skipped by the index itself, never
-- an error, so a caller's transaction stays usable; an id or a key being inserted by another
-- transaction is waited for. Rows go in ordered by key, so that two batches with the same keys cannot deadlock.
-- `channels` are notified in the same commit; an empty array notifies nobody.
with {bounded},
wanted as (
    select
        {given_of_each},
        {order_number}
    from unnest(
        {given_arrays}
    ) as w (
        {given_columns}
    )
),
inserted as (
    insert into {schema}.job (
        attempt,
        order_number,
        {given_columns}
    )
    select
        1,
        order_number,
        {given_columns}
    from bounded, wanted
    order by unique_key, id
    on conflict do nothing
    returning id, created_at
)
select
    id::text,
    extract(epoch from created_at)::text as created_at,
    (select count(pg_notify(channel, '')) from unnest(%(channels)s::text[]) as channel) as notified
from inserted
