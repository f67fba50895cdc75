-- Set how many jobs may run at once under a limit. The workers of all queues that have it are told, so
-- that they claim at once where it is more; and so are those who wait for its places outside of jobs.
-- Safe under concurrency: it is one row, which every claim under the limit locks before it reads it.
with changed as (
    update {schema}.limiter
    set set_to = %(size)s::integer
    where name = %(limiter)s::text
    returning name
)
select
    changed.name,
    (
        select count(pg_notify(channel, ''))
        from {schema}.queue
        where limiter = changed.name and channel is not null and %(notifies)s::boolean
    ) as notified,
    case
        when %(notifies)s::boolean then pg_notify(%(room_channel)s::text, changed.name)::text
    end as waiters_told
from changed
