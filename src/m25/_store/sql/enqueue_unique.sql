-- Insert new jobs, each of which takes a key, or follows the one that has it.
-- Safe under concurrency: the caller has locked the keys. A row whose id exists is skipped, and takes no
-- key. `channels` are notified in the same commit.
with wanted as (
    select
        {given_of_each},
        key,
        holding,
        within,
        follows,
        {order_number}
    from unnest(
        {given_arrays},
        %(key)s::text[],
        %(holding)s::text[],
        %(within)s::interval[],
        %(follows)s::uuid[]
    ) as w (
        {given_columns},
        key,
        holding,
        within,
        follows
    )
),
inserted as (
    insert into {schema}.job (
        attempt,
        has_begun,
        follows,
        order_number,
        {given_columns}
    )
    select
        1,
        false,
        follows,
        order_number,
        {given_columns}
    from wanted
    order by id
    on conflict do nothing
    returning id, created_at
),
taken as (
    update {schema}.held_key
    set
        job_id = wanted.id, -- rule: who puts a job takes its key
        holding = wanted.holding,
        until = now() + wanted.within
    from wanted
    join inserted on inserted.id = wanted.id
    where held_key.queue_name = wanted.queue_name and held_key.key = wanted.key
    returning held_key.job_id
)
select
    id::text,
    extract(epoch from created_at)::text as created_at,
    (select count(*) from taken) as taken,
    (select count(pg_notify(channel, '')) from unnest(%(channels)s::text[]) as channel) as notified
from inserted
