-- All queues of which anybody has heard: what workers have declared of them, and who has paused them.
-- Reads only; there is a row for each queue, and so there are few.
select
    queue.name,
    extract(epoch from default_job_timeout)::text as default_job_timeout,
    default_max_attempts,
    on_failure,
    extract(epoch from paused_at)::text as paused_at,
    pause_reason,
    limiter,
    coalesce(limiter.set_to, limiter.declared) as "limit"
from {schema}.queue
left join {schema}.limiter on limiter.name = queue.limiter
order by queue.name
