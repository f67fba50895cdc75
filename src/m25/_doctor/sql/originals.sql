-- Queues that workers of the original m25 serve, and of which is asked what those know nothing of. Such
-- a worker is seen by the jobs that it runs, which have no claim. Reads only: the rows that are live,
-- and of such queues those that are pending, up to the first that waits.
with shared as materialized (
    select distinct queue_name from {schema}.job
    where reserved_at is not null
        and finished_at is null
        and cancelled_at is null
        and claim_token is null
)
select
    shared.queue_name as queue,
    concat_ws(
        ', ',
        case when queue.paused_at is not null then 'its pause' end,
        case when queue.limiter is not null then 'its limit' end,
        case when waiting.is_there then 'what its jobs wait for' end
    ) as what
from shared
left join {schema}.queue on queue.name = shared.queue_name
cross join lateral (
    select exists (
        select from {schema}.job
        where job.queue_name = shared.queue_name and status = 'pending' and awaits is not null
    ) as is_there
) as waiting
where queue.paused_at is not null or queue.limiter is not null or waiting.is_there
order by shared.queue_name
