-- For each queue, how many attempts have ended lately, how many of them failed, and for how long they
-- waited and ran on average. Only the `walk` youngest by id are looked at: where jobs wait for long,
-- those that end are older, and there are more of them.
-- Reads only, by a walk over the end of the primary key.
select
    queue_name,
    count(*) as ended,
    count(*) filter (where failure_reason is not null) as failed,
    avg(greatest(extract(epoch from started_at - run_at), 0))::float8 as waited,
    avg(extract(epoch from finished_at - started_at))::float8 as ran
from (
    select queue_name, failure_reason, started_at, run_at, finished_at
    from {schema}.job
    where id <= 'ffffffff-ffff-ffff-ffff-ffffffffffff'
    order by id desc
    limit %(walk)s::bigint
) as young
where finished_at > now() - %(within)s::interval
    -- Of what has no length there is no average.
    and isfinite(run_at)
    and isfinite(started_at)
    and isfinite(finished_at)
group by queue_name
order by queue_name
