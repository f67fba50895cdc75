-- How many may begin now by the rate, if there is one: one each interval, and those of the latest
-- `rate_burst` intervals in which none did (a generic cell rate algorithm). So no more begin in any time than
-- its intervals, and the burst, by the `started_at` that this transaction writes: it has had to wait for the
-- lock since then, and so may find fewer tokens than there are by now.
rate as materialized (
    select
        rate_interval as seconds,
        now() as at,
        greatest(
            coalesce(next_start_at, '-infinity'),
            now() - make_interval(secs => rate_burst * rate_interval)
        ) as next_start_at
    from {schema}.limiter
    where name = %(limiter)s::text and rate_interval is not null
),
tokens as materialized (
    select
        case
            when next_start_at > at then 0
            else floor(extract(epoch from at - next_start_at)::float8 / seconds)::bigint + 1
        end as number -- rule: no more begin than the rate
    from rate
)
