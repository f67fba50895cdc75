-- How many may run at once under the limit, for each key; and with which keys how many do. What is
-- counted are the live rows themselves, of all queues that have this limit: whoever ends one, or sweeps
-- it, has given its place back. These are as few as run, in all processes, and those that were claimed for
-- the place of one that runs: all that have the same `place` are one. Places that are held outside of jobs
-- are rows of their own. And one place is left to those who have waited for such a one for a second, in
-- turns with the jobs: take_places.sql says when that ends.
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
outside as materialized (
    select id, key
    from {schema}.limit_holder
    where limiter = %(limiter)s::text
),
awaited as materialized (
    select awaited_key as key
    from {schema}.limiter
    where name = %(limiter)s::text
        -- rule: who waits outside of a job has a turn
        and awaited_since <= now() - interval '1 second'
        -- rule: no place is left to who is gone
        and asked_at > now() - interval '3 seconds'
        -- rule: jobs that have waited have the next turn
        and not (jobs_next and coalesce(turn_at <= now(), false))
),
taken as materialized (
    select key, count(distinct place) as number -- rule: jobs of one place take one
    from (
        select key, place from live
        union all
        select key, id from outside -- rule: who holds a place outside of a job is counted
        union all
        select key, uuid '00000000-0000-0000-0000-000000000000' from awaited
    ) as each
    group by key
)
