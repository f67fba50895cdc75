-- The workers of which something was heard within `silence`, and that have not ended. Reads only; there
-- is a row for each, and so there are few.
select
    id::text,
    version,
    queues,
    extract(epoch from started_at)::text as started_at,
    greatest(extract(epoch from now() - latest_heartbeat_at), 0)::float8 as silent_for
from {schema}.worker
where ended_at is null and latest_heartbeat_at > now() - %(silence)s::interval
order by worker.started_at, worker.id
limit 1000
