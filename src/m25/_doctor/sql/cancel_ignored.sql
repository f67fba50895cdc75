-- Jobs whose cancel was asked for long ago and that still run. Reads only, the rows that are live.
select
    queue_name as queue,
    id::text as job,
    extract(epoch from now() - cancel_requested_at)::float8 as age
from {schema}.job
where reserved_at is not null
    and finished_at is null
    and cancelled_at is null
    and lease_expires_at > now()
    and cancel_requested_at < now() - interval '5 minutes' * %(tolerance)s::float8
order by cancel_requested_at
limit 10
