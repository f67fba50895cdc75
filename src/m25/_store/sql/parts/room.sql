-- How many may run at once under the limit, for each key; and with which keys how many do. What is
-- counted are the live rows themselves, of all queues that have this limit: whoever ends one, or sweeps
-- it, has given its place back. These are as few as run, in all processes.
size as materialized (
    select coalesce(set_to, declared, 2147483647) as size
    from {schema}.limiter
    where name = %(limiter)s::text
),
taken as materialized (
    select key, count(*) as number
    from (
        select left(coalesce(job.input #>> queue.limit_path, ''), 200) as key
        from {schema}.queue
        join {schema}.job on job.queue_name = queue.name
        where queue.limiter = %(limiter)s::text
            and job.queue_name = any(
                array(select name from {schema}.queue where limiter = %(limiter)s::text)
            )
            and job.reserved_at is not null
            and job.finished_at is null
            and job.cancelled_at is null
    ) as live
    group by key
)
