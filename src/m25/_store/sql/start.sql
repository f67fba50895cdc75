-- Start reserved jobs, once their executors have initialised: they are executing from now on.
-- Safe under concurrency: a row that somebody else has locked keeps none of the others waiting, and
-- only a row that still carries the claim's token and is still live is written. A repeat after a lost
-- answer finds the row executing under the same token, and returns it again unchanged. The lease
-- begins when the row is locked, as in heartbeat.sql.
with {held},
started as (
    update {schema}.job
    set
        started_at = coalesce(started_at, now()),
        deadline = coalesce(
            deadline,
            {deadline}
        ),
        -- What has failed since then fails in a row anew.
        setup_failures = null,
        lease_expires_at = clock_timestamp() + %(lease)s::interval
    where id = any(array(select id from held))
    returning id, started_at, deadline
)
select
    id::text,
    extract(epoch from started_at)::text as started_at,
    extract(epoch from deadline)::text as deadline
from started
