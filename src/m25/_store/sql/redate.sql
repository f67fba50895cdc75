-- Date misdated jobs as if they were created now, at most `limit`. The database's clock was set back
-- after they were enqueued, and without this they would wait until it shows that time again. A retry
-- keeps its delay, and what somebody scheduled its time.
-- It walks over all jobs of the queues that are due later, so it runs only where a survey has seen one
-- that is misdated.
-- Safe under concurrency: a row that somebody has locked is left out, and a row is checked again once
-- it is locked, before it is written. Of several processes that do this at once, each has other rows.
-- A job stays pending, and in its order: batches are taken by `run_at`, and ids are in order.
with recursive {levels},
misdated as materialized (
    select candidate.id
    from level
    cross join lateral (
        select id from {schema}.job
        where job.queue_name = level.queue_name
            and status = 'pending'
            and job.priority = level.priority
            and run_at > now() + interval '1 second'
            and {misdated}
        order by run_at, id
        limit %(limit)s::bigint
        for no key update skip locked
    ) as candidate
    where level.priority is not null
    limit %(limit)s::bigint
)
update {schema}.job
set
    created_at = now(),
    scheduled_at = case
        -- Between infinities there is no delay: such a row is somebody else's.
        when isfinite(scheduled_at) and isfinite(created_at)
        then now() + make_interval(secs => extract(epoch from scheduled_at - created_at)::float8)
        else scheduled_at
    end
where id = any(array(select id from misdated))
returning queue_name
