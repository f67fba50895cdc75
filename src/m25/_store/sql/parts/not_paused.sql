-- Nobody has paused the queue: its row is looked up once, before any job is. Where the queue has no row,
-- nobody has.
-- rule: a paused queue gives no job
(
    select paused_at from {schema}.queue where name = %(queue_name)s::text
) is null
