-- Jobs that go on past their deadline, while their worker keeps the lease: the handler does not end
-- though it is cancelled. Reads only, the rows that are live.
select
    queue_name as queue,
    id::text as job,
    extract(epoch from now() - deadline)::float8 as age
from {schema}.job
where reserved_at is not null
    and finished_at is null
    and cancelled_at is null
    and lease_expires_at > now()
    and deadline < now() - interval '2 minutes' * %(tolerance)s::float8
order by deadline
limit 10
