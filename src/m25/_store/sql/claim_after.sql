-- The same as claim.sql, starting where the latest claims ended: at a position for each of some
-- priorities. Where the jobs behind these are too few, it goes on in the priorities that follow the
-- last of them, as claim.sql does.
-- While a transaction is held open anywhere, the entries of all that was claimed since stay in the
-- index, and a claim from the start walks over every one of them. What lies before the positions (a
-- row that was committed late, released, or is of another priority) is not seen by this: claims from
-- the start come often enough.
-- Safe under concurrency for the same reasons.
with recursive position as (
    select *
    from unnest(
        %(priority)s::smallint[], %(run_at)s::float8[], %(id)s::uuid[]
    ) as p (priority, seconds, id)
),
level (priority) as (
    (
        select priority from {schema}.job
        where queue_name = %(queue_name)s::text
            and status = 'pending'
            and priority > (select max(priority) from position)
        order by priority limit 1
    )
    union all
    {next_level}
),
due as materialized (
    select candidate.id
    from (
        select behind.id
        from position
        cross join lateral (
            select job.id from {schema}.job
            where queue_name = %(queue_name)s::text
                and status = 'pending'
                and job.priority = position.priority
                and (run_at, job.id) > (
                    timestamptz 'epoch' + make_interval(secs => position.seconds), position.id
                )
                and run_at <= now()
                and {follows_none}
            order by run_at, job.id
            limit %(limit)s::bigint
            for no key update skip locked
        ) as behind
        union all
        select following.id
        from level
        cross join lateral (
            select job.id from {schema}.job
            where queue_name = %(queue_name)s::text
                and status = 'pending'
                and job.priority = level.priority
                and run_at <= now()
                and {follows_none}
            order by run_at, job.id
            limit %(limit)s::bigint
            for no key update skip locked
        ) as following
        where level.priority is not null
    ) as candidate
    where {not_paused}
    limit %(limit)s::bigint
),
{claimed}
select
    {claimed_row}
from claimed
order by claimed.priority, claimed.run_at, claimed.id
