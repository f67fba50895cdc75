-- End attempts that have succeeded as succeed.sql does, and claim due jobs of the same queue in their
-- places: as many as end here, but for what runs beyond a limit that was made smaller. A row tells of
-- each that has ended, or that was claimed.
-- A claim that finds the limit reached says when it is its turn. From then on the next to end here leaves
-- one place to whoever takes it, and all who have the limit are told.
-- Safe under concurrency: the limit is not locked, and need not be. Whoever claims under its lock counts
-- the jobs that run, and finds either those that end here or those in their places, never fewer; and this
-- adds none. Rows that others have locked are left out, the limit's own among them: then its turn comes
-- with the next that ends.
with recursive {level},
{succeeded},
{room},
turn as (
    update {schema}.limiter
    set turn_at = null
    where name = any(array(
        select name from {schema}.limiter
        where name = %(limiter)s::text and turn_at <= now()
        for no key update skip locked -- rule: a turn keeps no result waiting
    ))
        and exists (select from succeeded)
    returning name
),
free as materialized (
    select
        (select count(*) from succeeded) -- rule: no more begin than end
        - (select count(*) from turn) -- rule: each has a turn
        - greatest(
            coalesce((select number from taken where key = ''), 0) - (select size from size), 0
        ) -- rule: a smaller limit is come down to
        as free
),
{claimed_in_room}
select
    ended.ended_id,
    ended.notified,
    exists (select from turn) as has_turned,
    (
        select count(pg_notify(channel, ''))
        from {schema}.queue
        where limiter = any(array(select name from turn)) and channel is not null
            and %(notifies)s::boolean
    ) as turn_notified,
    {claimed_row}
from (
    select
        succeeded.id::text as ended_id,
        {end_notified} as notified
    from succeeded
) as ended
full join claimed on false
order by claimed.priority, claimed.run_at, claimed.id
