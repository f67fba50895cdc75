-- Jobs whose owner is gone and that nobody takes over: their lease is over for longer than any worker of
-- the queue would wait. Those of the original's workers have their deadline alone. Reads only, the rows
-- that are live.
select
    queue_name as queue,
    count(*) as jobs,
    extract(epoch from now() - min(coalesce(lease_expires_at, deadline)))::float8
        as age,
    (array_agg(id::text order by coalesce(lease_expires_at, deadline)))[1] as job
from {schema}.job
where reserved_at is not null
    and finished_at is null
    and cancelled_at is null
    and case when claim_token is null then deadline else lease_expires_at end
        < now() - interval '2 minutes' * %(tolerance)s::float8
group by queue_name
order by queue_name
