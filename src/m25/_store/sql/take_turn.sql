-- Take the next turn of a rate for something that is no job: as much is paid at once, and the answer is how
-- many seconds from now the turn comes. So those who ask wait once, in the order in which they asked, and ask
-- no more. A row comes back where there is such a rate; it says whether the rate goes by a key. The turn is
-- taken only where a key was given just in that case.
-- Safe under concurrency: the limiter is locked by this transaction, as by all who read or write its clocks.
with rate as (
    select
        name,
        next_start_at,
        rate_interval as seconds,
        rate_burst as burst,
        exists (
            select from {schema}.queue
            where limiter = %(limiter)s::text and rate_path is not null
        ) as has_key,
        exists (
            select from {schema}.queue
            where limiter = %(limiter)s::text
                and (rate_path is not null or cost_path is not null)
        ) as has_clocks
    from {schema}.limiter
    where name = %(limiter)s::text and rate_interval is not null
),
clock as materialized (
    select
        has_clocks,
        seconds,
        greatest(
            coalesce(
                case
                    when has_clocks
                    then (
                        select rate_clock.next_start_at
                        from {schema}.rate_clock
                        where limiter = %(limiter)s::text
                            and key = coalesce(%(key)s::text, '')
                    )
                    else next_start_at
                end,
                '-infinity'
            ),
            now() - make_interval(secs => burst * seconds) -- rule: whoever takes turns has no more of the burst than jobs
        ) as start_at,
        (least(%(cost)s::bigint, burst + 1) - 1) * seconds as ahead
    from rate
    where has_key = (%(key)s::text is not null)
),
paid as materialized (
    select
        has_clocks,
        least(
            timestamptz '9000-01-01 00:00:00+00', -- rule: no turn is later than a time can be
            -- rule: whoever takes a turn pays for it
            start_at + make_interval(secs => least(%(cost)s::bigint * seconds, 31557600000))
        ) as next_start_at
    from clock
),
paid_by_clock as (
    insert into {schema}.rate_clock (limiter, key, next_start_at)
    select %(limiter)s::text, coalesce(%(key)s::text, ''), next_start_at
    from paid
    where has_clocks
    on conflict (limiter, key) do update set next_start_at = excluded.next_start_at
),
paid_by_rate as (
    update {schema}.limiter
    set next_start_at = paid.next_start_at
    from paid
    where limiter.name = %(limiter)s::text and not paid.has_clocks
)
select
    rate.has_key,
    (
        select greatest(extract(epoch from start_at - now())::float8 + ahead, 0)
        from clock
    ) as wait
from rate
