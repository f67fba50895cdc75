-- The schedules that are not paused, with whether the job of the latest tick is live: with `overlap` of
-- "queue" and "cancel" the next tick waits for that. Reads only.
select
    name,
    expression,
    extract(epoch from every)::float8 as every,
    timezone,
    extract(epoch from last_tick)::float8 as last_tick,
    extract(epoch from now())::float8 as now,
    overlap in ('queue', 'cancel')
        and exists (
            select from {schema}.job
            where (job.id = last_job_id or job.original_attempt_id = last_job_id)
                and job.finished_at is null
                and job.cancelled_at is null
        ) as waits
from {schema}.schedule
where paused_at is null
order by name
