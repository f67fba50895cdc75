-- Queues that somebody has paused, and that have jobs which are due, with when the oldest was. Reads
-- only, by a few index probes for each paused queue.
with known as materialized (
    select name, paused_at, pause_reason from {schema}.queue where paused_at is not null
)
select
    known.name as queue,
    extract(epoch from now() - known.paused_at)::float8 as age,
    coalesce(known.pause_reason, 'nobody said why') as reason,
    extract(epoch from now() - oldest.run_at)::float8 as due
from known
cross join lateral (
    {oldest_due}
) as oldest
where oldest.run_at <= now()
order by known.name
