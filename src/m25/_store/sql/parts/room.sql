-- How many may run at once under the limit, for each key; and with which keys how many do. What is
-- counted are the live rows themselves, of all queues that have this limit: whoever ends one, or sweeps
-- it, has given its place back. These are as few as run, in all processes, and those that were claimed for
-- the place of one that runs: all that have the same `place` are one.
size as materialized (
    select coalesce(set_to, declared, 2147483647) as size
    from {schema}.limiter
    where name = %(limiter)s::text
),
live as materialized (
    select
        job.id,
        left(coalesce(job.input #>> queue.limit_path, ''), 200) as key,
        coalesce(job.place, job.id) as place
    from {schema}.queue
    join {schema}.job on job.queue_name = queue.name
    where queue.limiter = %(limiter)s::text
        and job.queue_name = any(
            array(select name from {schema}.queue where limiter = %(limiter)s::text)
        )
        and job.reserved_at is not null
        and job.finished_at is null
        and job.cancelled_at is null
),
taken as materialized (
    select key, count(distinct place) as number -- rule: jobs of one place take one
    from live
    group by key
)
