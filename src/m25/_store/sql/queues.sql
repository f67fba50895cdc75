-- All queues of which anybody has heard: what workers have declared of them, and who has paused them.
-- Reads only; there is a row for each queue, and so there are few.
select
    name,
    extract(epoch from default_job_timeout)::text as default_job_timeout,
    default_max_attempts,
    on_failure,
    extract(epoch from paused_at)::text as paused_at,
    pause_reason
from {schema}.queue
order by name
