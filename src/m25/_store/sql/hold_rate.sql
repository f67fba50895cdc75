-- Put clocks of a rate off: of each key no job begins before its delay is over. A clock that says later
-- already stays as it is.
-- Safe under concurrency: the limiter is locked by this transaction, as by all who read or write its clocks.
with wanted as (
    select key, max(delay) as delay
    from unnest(%(key)s::text[], %(delay)s::interval[]) as w (key, delay)
    group by key
),
rate as (
    select name from {schema}.limiter where name = %(limiter)s::text and rate_interval is not null
),
clock as (
    insert into {schema}.rate_clock (limiter, key, next_start_at)
    select rate.name, wanted.key, now() + wanted.delay
    from rate
    cross join wanted
    where %(reads_inputs)s::boolean
    order by wanted.key
    on conflict (limiter, key) do update
    -- rule: a clock that was put off comes no sooner
    set next_start_at = greatest(rate_clock.next_start_at, excluded.next_start_at)
)
update {schema}.limiter
-- rule: a rate that was put off comes no sooner
set next_start_at = greatest(limiter.next_start_at, now() + (select max(delay) from wanted))
from rate
where limiter.name = rate.name
    and not %(reads_inputs)s::boolean
returning limiter.name
