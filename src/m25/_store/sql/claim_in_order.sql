-- Claim as claim_limited.sql does, but of each key one job at a time, in the order of their numbers. The first
-- of a key that has not ended is its head: no other is claimed, and the head only once it is due, while none
-- of its key runs, and none before it has failed that holds what is behind. So a retry, which has its
-- predecessor's number, and what was released, keep their places, and what waits behind waits on.
-- Heads are looked for by keys: those of the `front` first due jobs by priority and age, and `keys` more
-- from `from_key` on, so that each claim comes to other ones. How many jobs wait behind a head costs nothing.
-- A job that was inserted without a number, as plain SQL does it, is given one: of all that is pending,
-- `walk` jobs are looked at for that, from a position on, in turn. There always is a row: it says where the
-- next claim goes on, and whether jobs that are due wait for others.
-- Safe under concurrency: as claim_limited.sql is. All who claim hold the lock of the queue's limiter, so
-- that what they have claimed is seen here as running. A job of a lower number that is committed after this
-- began is not seen, and comes next; by then the other runs, and is waited for. What is no more pending once
-- it is locked is left out, as are rows that others have locked.
with recursive {level},
{room},
{tokens},
{free_of_all_keys},
walked as materialized (
    select id, priority, run_at, order_number is null as is_new
    from {schema}.job
    where queue_name = %(queue_name)s::text
        and status = 'pending'
        and (priority, run_at, id)
            > (%(priority)s::smallint, %(run_at)s::timestamptz, %(id)s::uuid)
    order by priority, run_at, id
    limit %(walk)s::bigint
),
last as materialized (
    select priority, run_at, id
    from walked
    order by priority, run_at, id
    offset %(walk)s::bigint - 1
    limit 1
),
new as materialized (
    select
        id,
        created_at,
        left(
            coalesce(
                input #>> (select order_path from {schema}.queue where name = %(queue_name)s::text),
                ''
            ),
            200
        ) as key
    from {schema}.job
    where id = any(array(select id from walked where is_new))
        and status = 'pending'
        and order_number is null
    order by id
    for no key update skip locked
),
numbered as materialized (
    select id, key, {schema}.next_order_number() as number
    from (select id, key from new order by created_at, id) as in_order
),
placed as (
    update {schema}.job
    set order_key = numbered.key, order_number = numbered.number
    from numbered
    where job.id = any(array(select id from numbered)) -- rule: what has no place is given one
        and numbered.id = job.id
    returning job.id
),
front as materialized (
    select candidate.id, candidate.order_key
    from level
    cross join lateral (
        select id, order_key
        from {schema}.job
        where queue_name = %(queue_name)s::text
            and status = 'pending'
            and job.priority = level.priority
            and run_at <= now()
        order by run_at, id
        limit %(front)s::bigint
    ) as candidate
    where level.priority is not null
    limit %(front)s::bigint
),
key (key, number) as (
    (
        select order_key, 1 from {schema}.job
        where queue_name = %(queue_name)s::text
            and {stands_in_order}
            and order_key >= %(from_key)s::text
        order by order_key limit 1
    )
    union all
    select (
        select job.order_key from {schema}.job
        where queue_name = %(queue_name)s::text
            and {stands_in_order}
            and job.order_key > key.key
        order by job.order_key limit 1
    ), number + 1
    from key
    where key.key is not null and number <= %(keys)s::bigint
),
running as materialized (
    select distinct order_key
    from {schema}.job
    where queue_name = %(queue_name)s::text
        and reserved_at is not null
        and finished_at is null
        and cancelled_at is null
        and order_key is not null
),
looked_at as materialized (
    (
        select key from key where key is not null and number <= %(keys)s::bigint
        union
        select order_key from front where order_key is not null
    )
    except
    select order_key from running -- rule: of a key one job runs
),
head as materialized (
    select job.id, job.priority, job.run_at
    from looked_at
    cross join lateral (
        select id, priority, run_at, status, follows, order_number
        from {schema}.job
        where queue_name = %(queue_name)s::text
            and {stands_in_order}
            and job.order_key = looked_at.key
        order by order_number -- rule: the first of a key comes first
        limit 1
    ) as job
    where job.status = 'pending'
        and {follows_none}
        and (
            -- Mostly there is none, and then it is not looked for by key.
            not exists (select from {schema}.stopped_key where queue_name = %(queue_name)s::text)
            or (
                select true
                from {schema}.stopped_key
                where queue_name = %(queue_name)s::text
                    and stopped_key.order_key = looked_at.key
                    and stopped_key.order_number < job.order_number -- rule: what has failed holds what is behind
                limit 1
            ) is null
        )
        and {not_paused}
),
due as materialized (
    select id
    from {schema}.job
    where id = any(array(
            select id
            from head
            where run_at <= now() -- rule: a head that is not due holds its key
            order by priority, run_at, id
            limit greatest((select free from free), 0)
        ))
        and status = 'pending'
    order by id
    for no key update skip locked
),
{claimed},
{spent},
left_jobs as materialized (
    select
        (select count(*) from due) >= (select free from free)
        and (select free from free) < %(limit)s::bigint as has_left
),
{turn_taken}
select
    {awaited_told},
    (select has_left from left_jobs) as is_full,
    exists (select from placed) as has_more,
    exists (select from front where id not in (select id from due)) as has_waiting,
    (select extract(epoch from min(run_at) - now())::float8 from head where run_at > now()) as next_in,
    {room_in},
    (select key from key where number > %(keys)s::bigint) as next_key,
    (select priority from last) as last_priority,
    (select run_at::text from last) as last_run_at,
    (select id::text from last) as last_id,
    {claimed_row}
from (select) as always
left join claimed on true
order by claimed.priority, claimed.run_at, claimed.id
