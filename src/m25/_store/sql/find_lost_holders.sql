-- Places that are held outside of jobs, of whatever limits, and that nobody may be looking after, at most
-- `limit`: those whose lease is over, or less than half of it is left, which is never so with one that is
-- renewed in time. Reads only, and proves nothing, as find_suspects.sql does; whoever
-- asks waits for another look at the same lease. There are no more rows than places are held.
select
    limiter,
    id::text,
    extract(epoch from lease_expires_at)::text as lease_expires_at,
    lease_expires_at < now() as is_expired,
    extract(epoch from lease)::float8 as length
from {schema}.limit_holder
where limiter is not null
    and lease_expires_at < now() + lease / 2 -- rule: a place whose lease is over is seen
order by lease_expires_at
limit %(limit)s::bigint
