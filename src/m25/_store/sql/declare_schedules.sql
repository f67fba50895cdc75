-- Write down what a client declares of its schedules. Returned are those that were declared otherwise.
-- Safe under concurrency: an upsert for each, in the order of names, which leaves a row alone where
-- nothing has changed. A pause stays. A new schedule has no past, nor has one with other times.
insert into {schema}.schedule (name, queue_name, expression, every, timezone, catch_up, overlap)
select *
from unnest(
    %(name)s::text[],
    %(queue_name)s::text[],
    %(expression)s::text[],
    %(every)s::interval[],
    %(timezone)s::text[],
    %(catch_up)s::text[],
    %(overlap)s::text[]
) as s (name, queue_name, expression, every, timezone, catch_up, overlap)
order by name
on conflict (name) do update
set
    revision = schedule.revision + 1, -- rule: who declared a schedule otherwise does not tick
    declared_at = now(),
    queue_name = excluded.queue_name,
    expression = excluded.expression,
    every = excluded.every,
    timezone = excluded.timezone,
    catch_up = excluded.catch_up,
    overlap = excluded.overlap,
    last_tick = case
        when (schedule.expression, schedule.every, schedule.timezone)
            is distinct from (excluded.expression, excluded.every, excluded.timezone)
        then greatest(schedule.last_tick, now())
        else schedule.last_tick
    end
where (
        schedule.queue_name,
        schedule.expression,
        schedule.every,
        schedule.timezone,
        schedule.catch_up,
        schedule.overlap
    ) is distinct from (
        excluded.queue_name,
        excluded.expression,
        excluded.every,
        excluded.timezone,
        excluded.catch_up,
        excluded.overlap
    )
returning name, revision > 1 as is_changed
