-- For each queue, in how many seconds its next pending job is due: zero or less means now; no row
-- comes back for a queue without pending jobs. And whether, of the jobs that are due later, one of
-- the first is misdated: it was created more than a second from now, and nobody scheduled it. That
-- is so where the database's clock was set back, and redate.sql mends it. Less than a second is waited
-- for: a transaction that began after this one may have been committed before this one looks.
-- And whether somebody has paused the queue; for a paused one there always is a row.
-- Reads only, a few index probes for each priority in use.
with recursive {levels},
next_due as (
    select
        level.queue_name,
        least(
            greatest(extract(epoch from min(first.run_at)) - extract(epoch from now()), 0), 86400
        )::float8 as due_in,
        bool_or(next.misdated) as misdated
    from level
    cross join lateral (
        select run_at from {schema}.job
        where job.queue_name = level.queue_name
            and status = 'pending'
            and job.priority = level.priority
            and {follows_none}
        order by run_at
        limit 1
    ) as first
    cross join lateral (
        -- Ten, since jobs that somebody scheduled may lie before one that is misdated.
        select coalesce(bool_or({misdated}), false) as misdated
        from (
            select created_at, scheduled_at, previous_attempt_id from {schema}.job
            where job.queue_name = level.queue_name
                and status = 'pending'
                and job.priority = level.priority
                and run_at > now() + interval '1 second'
            order by run_at
            limit 10
        ) as later
    ) as next
    where level.priority is not null
    group by level.queue_name
),
paused as (
    select name, paused_at, pause_reason
    from {schema}.queue
    where name = any(%(queue_name)s::text[]) and paused_at is not null
)
select
    coalesce(next_due.queue_name, paused.name) as queue_name,
    coalesce(next_due.due_in, 86400) as due_in,
    coalesce(next_due.misdated, false) as misdated,
    extract(epoch from paused.paused_at)::text as paused_at,
    paused.pause_reason
from next_due
full join paused on paused.name = next_due.queue_name
