-- The due jobs of the queue that are free to begin, as many as `free` says, in the order of claims.
due as materialized (
    select candidate.id, candidate.priority, candidate.run_at
    from level
    cross join lateral (
        select id, priority, run_at from {schema}.job
        where queue_name = %(queue_name)s::text
            and status = 'pending'
            and job.priority = level.priority
            and run_at <= now()
            and {follows_none}
        order by run_at, id
        limit least(%(limit)s::bigint, greatest(coalesce((select free from free), 0), 0))
        for no key update skip locked
    ) as candidate
    where level.priority is not null
        and {not_paused}
    limit least(%(limit)s::bigint, greatest(coalesce((select free from free), 0), 0))
)
