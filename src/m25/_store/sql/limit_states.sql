-- The limits and rates under which queues run, by name: what each lets through, and what runs and waits
-- under it, counted up to `most` of each queue. What runs are the live rows themselves, by their keys, as
-- a claim counts them (room.sql). What waits is due, or held up until others of its key have ended, or
-- until the rate lets its key begin, or claimed for the place of one that runs.
-- Reads only. Jobs are found by partial indexes, which know nothing of what has ended.
with under as materialized (
    select
        limiter,
        array_agg(name order by name) as queues,
        -- All queues under a limit count by a key, or none does.
        (array_agg(array_to_string(limit_path, '.') order by name))[1] as key,
        (array_agg(array_to_string(rate_path, '.') order by name))[1] as rate_key
    from {schema}.queue
    where limiter is not null
    group by limiter
),
live as materialized (
    select
        queue.limiter,
        left(coalesce(job.input #>> queue.limit_path, ''), 200) as key,
        count(distinct coalesce(job.place, job.id)) as number,
        count(*) as jobs
    from {schema}.queue
    join {schema}.job on job.queue_name = queue.name
    where queue.limiter is not null
        and job.queue_name = any(
            array(select name from {schema}.queue where limiter is not null)
        )
        and job.reserved_at is not null
        and job.finished_at is null
        and job.cancelled_at is null
    group by 1, 2
),
taken as materialized (
    select
        live.limiter,
        sum(live.number)::bigint as running,
        sum(live.jobs - live.number)::bigint as behind,
        (
            array_agg(live.key order by live.key)
            filter (
                where under.key is not null
                    and live.number >= coalesce(limiter.set_to, limiter.declared)
            )
        ) as full_keys
    from live
    join under on under.limiter = live.limiter
    join {schema}.limiter on limiter.name = live.limiter
    group by live.limiter
)
select
    limiter.name,
    under.queues,
    under.key,
    coalesce(limiter.set_to, limiter.declared) as size,
    limiter.set_to is not null as is_set,
    limiter.rate_interval::text,
    limiter.rate_burst,
    under.rate_key,
    case
        when under.rate_key is null then extract(epoch from limiter.next_start_at)::text
    end as next_start_at,
    coalesce(taken.running, 0) as running,
    waits.number + coalesce(taken.behind, 0) as waiting,
    coalesce(cardinality(taken.full_keys), 0) as full_keys,
    coalesce(taken.full_keys[:%(named)s::integer], '{}') as named_keys
from {schema}.limiter
join under on under.limiter = limiter.name
left join taken on taken.limiter = limiter.name
cross join lateral (
    select sum(due.number + held_up.number)::bigint as number
    from unnest(under.queues) as each (name)
    cross join lateral (
        select count(*) as number
        from (
            select
            from {schema}.job
            where status = 'pending' and queue_name = each.name and run_at <= now()
            limit %(most)s::bigint
        ) as due
    ) as due
    cross join lateral (
        select count(*) as number
        from (
            select
            from {schema}.job
            where queue_name = each.name
                and was_due_at is not null
                and reserved_at is null
                and cancelled_at is null
                and scheduled_at > '8000-01-01Z'
            limit %(most)s::bigint
        ) as held_up
    ) as held_up
) as waits
order by limiter.name
