-- Give back places of a limit that are held outside of jobs. Where as many of their key were taken as may
-- be, whoever may wait for one is told.
-- Safe under concurrency: the limit is not locked, and need not be, as this only makes more room. Who counts
-- before it is committed hears of it afterwards. What is gone already was swept, or given back before.
with {room},
mine as materialized (
    select id, key
    from {schema}.limit_holder
    where id = any(%(id)s::uuid[]) and limiter = %(limiter)s::text
    order by id
    for update
),
released as (
    update {schema}.limit_holder
    set id = gen_random_uuid(), limiter = null
    where id = any(array(select id from mine))
    returning limiter
),
emptied as materialized (
    select %(limiter)s::text as limiter
    from size
    where exists (
        select
        from mine
        join taken on taken.key = mine.key
        where taken.number >= size.size
    )
)
select
    exists (select from emptied) as made_room,
    {room_told}
