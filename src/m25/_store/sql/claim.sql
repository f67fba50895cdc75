-- Claim up to `limit` due jobs of a queue: reserve them, and where `start` is true begin executing in
-- the same statement.
-- Safe under concurrency: `skip locked` gives a row to one claimer, and the row is locked and
-- re-checked before it is written; under READ COMMITTED, which the pool sets. The lock is one that
-- lets foreign keys to the row be inserted meanwhile, here and in every other statement.
-- Priorities are visited one by one (a loose index scan), so jobs scheduled for later in one priority
-- are not walked over to reach work in the next.
-- A pause that is committed before this begins is seen by it.
with recursive {level},
due as materialized (
    select candidate.id
    from level
    cross join lateral (
        select id from {schema}.job
        where queue_name = %(queue_name)s::text
            and status = 'pending'
            and job.priority = level.priority
            and run_at <= now() -- rule: not before it is due
            and {follows_none} -- rule: a job waits for what it follows
        order by run_at, id
        limit %(limit)s::bigint
        for no key update skip locked -- rule: one claim takes a row
    ) as candidate
    where level.priority is not null
        and {not_paused}
    limit %(limit)s::bigint
),
{claimed}
select
    {claimed_row}
from claimed
order by claimed.priority, claimed.run_at, claimed.id
