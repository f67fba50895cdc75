-- The priorities in use in each of some queues, by one index probe for each; the last `level` of a queue
-- is null.
queue (name) as (
    select unnest(%(queue_name)s::text[])
),
level (queue_name, priority) as (
    select name, (
        select priority from {schema}.job
        where queue_name = name and status = 'pending'
        order by priority limit 1
    )
    from queue
    union all
    select queue_name, (
        select job.priority from {schema}.job
        where job.queue_name = level.queue_name
            and status = 'pending'
            and job.priority > level.priority
        order by job.priority limit 1
    )
    from level
    where level.priority is not null
)
