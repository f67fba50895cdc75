-- End attempts that have succeeded as succeed.sql does, and claim due jobs of the same queue in their
-- places: as many as end here, but for what runs beyond a limit that was made smaller. Where the limit is
-- reached, more are claimed behind these, so that each place has `ahead` jobs that wait for it: the caller
-- runs the jobs of one place one after the other. A row tells of each that has ended, or that was claimed.
-- A claim that finds the limit reached says when it is its turn. From then on the next to end here leaves
-- its place to whoever takes it, and all who have the limit are told. Where jobs wait for that place, these
-- run before it is left: the caller is told, and says which place it is `leaving` until it is empty.
-- Safe under concurrency: the limit is not locked, and need not be. Whoever claims under its lock counts
-- the places of jobs that are live, and finds either those that end here or those in their places, never
-- fewer; and this adds none. A place is that of a job which ends here by the caller's own claim: so all that
-- have it are one caller's. It has a name of its own, and not a job's id: once that job is deleted, another
-- one may be enqueued by its id. Rows that others have locked are left out, the limit's own among them: then
-- its turn comes with the next that ends.
with recursive {level},
{succeeded},
{room},
ended_place as materialized (
    select
        coalesce(one.place, gen_random_uuid()) as place,
        (
            select count(*) from live
            where live.place = coalesce(one.place, one.alone)
                and live.id <> all(array(select id from succeeded))
        ) as others
    from (
        select distinct place, case when place is null then id end as alone
        from succeeded
    ) as one
),
turn as (
    update {schema}.limiter
    set turn_at = null
    where name = any(array(
        select name from {schema}.limiter
        where name = %(limiter)s::text and turn_at <= now()
        for no key update skip locked -- rule: a turn keeps no result waiting
    ))
        and exists (select from ended_place)
    returning name
),
left_place as materialized (
    select place, others
    from (
        select place, others, row_number() over (order by others, place) as rank from ended_place
    ) as ranked
    where rank = 1 and exists (select from turn) -- rule: each has a turn
        or place = %(leaving)s::uuid -- rule: a place that is left comes to be empty
),
beyond as materialized (
    select coalesce((select number from taken where key = ''), 0) - size as number
    from size
),
empty as materialized (
    select
        (
            select count(*) from ended_place
            where others = 0
                and place <> all(array(select place from left_place))
        )
        - greatest((select number from beyond), 0) -- rule: a smaller limit is come down to
        as number
),
behind as materialized (
    select
        case
            when (select number from beyond) = 0 -- rule: what could run elsewhere does not wait here
            then %(ahead)s::bigint
            else 0
        end as number
),
seat as materialized (
    select
        case when (select number from behind) > 0 then place end as place,
        nth,
        row_number() over (order by nth, place) as number
    from (
        select place, others, row_number() over (order by others, place) as rank
        from ended_place
        where place <> all(array(select place from left_place))
    ) as ranked
    cross join lateral generate_series(
        others + 1, -- rule: no more begin than end
        1 + (select number from behind)
    ) as nth
    where others > 0
        or rank <= least((select number from empty), %(begin)s::bigint)
),
free as materialized (
    select count(*) as free from seat
),
{due_in_room},
placed as materialized (
    select due.id, seat.place, seat.nth
    from (
        select id, row_number() over (order by priority, run_at, id) as number from due
    ) as due
    join seat on seat.number = due.number
),
claimed as (
    update {schema}.job
    set
        {claim_columns},
        place = (select placed.place from placed where placed.id = job.id)
    where id = any(array(select id from placed))
    returning
        {claimed_columns}
)
select
    ended.ended_id,
    ended.notified,
    exists (select from left_place where others = 0) as has_turned,
    (
        select count(pg_notify(channel, ''))
        from {schema}.queue
        where limiter = %(limiter)s::text and channel is not null
            and exists (select from left_place where others = 0)
            and %(notifies)s::boolean
    ) as turn_notified,
    (
        select count(pg_notify(%(room_channel)s::text, %(limiter)s::text))
        from awaited
        where exists (select from ended_place where others = 0) and %(notifies)s::boolean
    ) as awaited_told,
    (select max(place::text) from left_place where others > 0) as leaving,
    (select count(*) from placed where nth = 1) < (select number from empty) as has_room,
    (select placed.place::text from placed where placed.id = claimed.id) as place,
    {claimed_row}
from (
    select
        succeeded.id::text as ended_id,
        {end_notified} as notified
    from succeeded
) as ended
full join claimed on false
order by claimed.priority, claimed.run_at, claimed.id
