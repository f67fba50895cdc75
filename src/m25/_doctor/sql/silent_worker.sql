-- Workers that say no more that they are there, every 30 s, and whose sessions are there all the same:
-- the process stands still. Reads only.
select
    id::text as worker,
    array_to_string(queues, ', ') as queues,
    extract(epoch from now() - latest_heartbeat_at)::float8 as age
from {schema}.worker
where ended_at is null
    and latest_heartbeat_at < now() - interval '3 minutes' * %(tolerance)s::float8
    and exists (
        select from pg_catalog.pg_stat_activity as activity
        where activity.pid = any(worker.session_pids)
            and activity.backend_start = any(worker.session_starts)
    )
order by latest_heartbeat_at
limit 10
