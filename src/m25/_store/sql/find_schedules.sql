-- Read schedules, all or those of some names, with the time it is for the database. Nothing is
-- changed or locked. Where there are none, one row has the time alone.
select
    extract(epoch from clock.now)::text as now,
    schedule.name,
    schedule.revision,
    schedule.queue_name,
    schedule.expression,
    extract(epoch from schedule.every)::text as every,
    schedule.timezone,
    schedule.catch_up,
    schedule.overlap,
    extract(epoch from schedule.declared_at)::text as declared_at,
    extract(epoch from schedule.paused_at)::text as paused_at,
    extract(epoch from schedule.last_tick)::text as last_tick,
    schedule.last_job_id::text
from (select now()) as clock (now)
left join {schema}.schedule
    on %(name)s::text[] is null or schedule.name = any(%(name)s::text[])
order by schedule.name
