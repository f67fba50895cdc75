-- The priorities in use in the queue, by one index probe for each; the last is null.
level (priority) as (
    (
        select priority from {schema}.job
        where queue_name = %(queue_name)s::text and status = 'pending'
        order by priority limit 1
    )
    union all
    {next_level}
)
