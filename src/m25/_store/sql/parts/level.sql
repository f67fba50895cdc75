-- The priorities in use in the queue, by one index probe for each; the last is null.
level (priority) as (
    (
        select priority from {schema}.job
        where queue_name = %(queue_name)s::text and status = 'pending'
        order by priority limit 1
    )
    union all
    select (
        select job.priority from {schema}.job
        where queue_name = %(queue_name)s::text and status = 'pending' and job.priority > level.priority
        order by job.priority limit 1
    )
    from level
    where level.priority is not null
)
