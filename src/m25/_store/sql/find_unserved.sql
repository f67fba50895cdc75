-- Queues that nobody serves: their jobs have been due for longer than `waiting`, none of them runs,
-- and no live worker names the queue. With each, for how many seconds the oldest has been due, and how
-- many workers are live: have announced themselves within `silence`, and not ended. Queues that the
-- original's workers serve have jobs that run, and are not found while these keep up.
-- Reads only: the workers once, and a few index probes for each queue that has pending jobs, of which
-- the first ten thousand are looked at.
with recursive live as materialized (
    select queues from {schema}.worker
    where ended_at is null and latest_heartbeat_at > now() - %(silence)s::interval
),
served as materialized (
    select distinct unnest(queues) as name from live
),
pending (name, number) as (
    (
        select queue_name, 1 from {schema}.job
        where status = 'pending' and queue_name >= ''
        order by queue_name limit 1
    )
    union all
    select (
        select queue_name from {schema}.job
        where status = 'pending' and queue_name > pending.name
        order by queue_name limit 1
    ), number + 1
    from pending
    where name is not null and number < 10000
)
select
    known.name as queue_name,
    least(extract(epoch from now()) - extract(epoch from oldest.run_at), 1e9)::float8 as seconds,
    (select count(*) from live) as workers
from pending as known
cross join lateral (
    {oldest_due}
) as oldest
where known.name is not null
    and not exists (select from served where served.name = known.name)
    and oldest.run_at < now() - %(waiting)s::interval
    -- With a limit it stays a probe for each queue: without, it would be joined, by a walk over all
    -- live rows.
    and (
        select true from {schema}.job
        where queue_name = known.name
            and reserved_at is not null
            and finished_at is null
            and cancelled_at is null
        limit 1
    ) is null
