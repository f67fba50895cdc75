-- The limits and rates under which queues run, or of which places are held outside of jobs, by name: what
-- each lets through, how many places are held, and what runs and waits under it, counted up to `most` of each queue. What runs are the live rows themselves, by their keys, as
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
outside as materialized (
    select limiter, key, count(*) as number
    from {schema}.limit_holder
    where limiter is not null
    group by limiter, key
),
taken as materialized (
    select
        each.limiter,
        sum(each.running)::bigint as running,
        sum(each.held)::bigint as held,
        sum(each.behind)::bigint as behind,
        (
            array_agg(each.key order by each.key)
            filter (
                where limiter.has_key
                    and each.running + each.held >= coalesce(limiter.set_to, limiter.declared)
            )
        ) as full_keys
    from (
        select
            limiter,
            key,
            coalesce(live.number, 0) as running,
            coalesce(outside.number, 0) as held,
            coalesce(live.jobs - live.number, 0) as behind
        from live
        full join outside using (limiter, key)
    ) as each
    join (
        select
            limiter.*,
            case
                when under.limiter is null then limiter.held_path is not null
                else under.key is not null
            end as has_key
        from {schema}.limiter
        left join under on under.limiter = limiter.name
    ) as limiter on limiter.name = each.limiter
    group by each.limiter
)
select
    limiter.name,
    coalesce(under.queues, '{}') as queues,
    case
        when under.limiter is null then array_to_string(limiter.held_path, '.')
        else under.key
    end as key,
    coalesce(limiter.set_to, limiter.declared) as size,
    limiter.set_to is not null as is_set,
    limiter.rate_interval::text,
    limiter.rate_burst,
    under.rate_key,
    case
        when under.rate_key is null then extract(epoch from limiter.next_start_at)::text
    end as next_start_at,
    coalesce(taken.running, 0) as running,
    coalesce(taken.held, 0) as held,
    coalesce(waits.number, 0) + coalesce(taken.behind, 0) as waiting,
    coalesce(cardinality(taken.full_keys), 0) as full_keys,
    coalesce(taken.full_keys[:%(named)s::integer], '{}') as named_keys
from {schema}.limiter
left join under on under.limiter = limiter.name
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
where under.limiter is not null or limiter.is_held
order by limiter.name
