-- Claim as claim_limited.sql does, by a rate that has a clock for each key, or of which jobs have their
-- costs; the limiter is locked by this transaction. A key is what the rate's path leads to in a job's input,
-- up to 200 characters of it; nothing is '', a key like others, and without a path all jobs have it.
-- A job may begin once its key's clock has come to as many intervals as the job costs; the burst at most is
-- saved up, so one that costs more begins with all of that, and what is left to pay keeps the next waiting.
-- Of one key the order is strict: nothing overtakes a job because it costs less. Times are within what a
-- timestamp can hold: what is to be paid makes nobody wait for more than a thousand years.
-- A job that is due too early for its key is held up, as in claim_by_key.sql, in the line of its key. The line
-- says when the first job in it may begin, so a claim looks at those lines alone whose time has come, the
-- longest due first: neither how many jobs wait makes a claim longer, nor how many keys. A line may be looked at
-- too early, where another queue has the same rate, or something more urgent has come; then it is dated anew.
-- There always is a row: it says whether there may be more to claim now, and when.
-- Safe under concurrency: as claim_limited.sql is. Clocks and lines are written by those alone who have the
-- limiter locked. Jobs that others have locked are left out.
with recursive {level},
{room},
rate as materialized (
    select rate_interval as seconds, rate_burst as burst
    from {schema}.limiter
    where name = %(limiter)s::text and rate_interval is not null
),
path as materialized (
    select rate_path, cost_path from {schema}.queue where name = %(queue_name)s::text
),
free as materialized (
    select
        least(
            %(limit)s::bigint,
            size.size - coalesce((select number from taken where key = ''), 0) -- rule: by a clock, too, no more than the limit
        ) as free
    from size
),
line as materialized (
    select key
    from {schema}.rate_line
    where queue_name = %(queue_name)s::text and look_at <= now()
    order by look_at, key
    limit %(limit)s::bigint
),
walked as materialized (
    select candidate.id, candidate.priority, candidate.at, candidate.key, candidate.cost
    from level
    cross join lateral (
        select
            id,
            priority,
            run_at as at,
            left(coalesce(input #>> (select rate_path from path), ''), 200) as key,
            {cost} as cost
        from {schema}.job
        where queue_name = %(queue_name)s::text
            and status = 'pending'
            and job.priority = level.priority
            and run_at <= now()
            and {follows_none}
        order by run_at, id
        limit (select number from walk)
        for no key update skip locked
    ) as candidate
    where level.priority is not null
        and {not_paused}
    limit (select number from walk)
),
-- Without a key the jobs that are too early stay where they are, and one of them is enough.
walk as materialized (
    select
        least(
            %(walk)s::bigint,
            case when (select rate_path from path) is null then (select burst + 2 from rate) end
        ) as number
),
held_up as materialized (
    select waiting.id, waiting.priority, waiting.at, waiting.key, waiting.cost
    from line
    cross join lateral (
        select id, priority, was_due_at as at, limit_key as key, {cost} as cost
        from {schema}.job
        where queue_name = %(queue_name)s::text
            and limit_key = line.key
            and {is_held_up}
            -- rule: what is in the line of a former key waits until it is let go
            and left(coalesce(input #>> (select rate_path from path), ''), 200) = line.key
        order by priority, was_due_at, id
        limit least(
            %(limit)s::bigint,
            (select burst + 1 from rate),
            2 * %(limit)s::bigint / (select count(*) from line) + 1
        )
        for no key update skip locked
    ) as waiting
    where {not_paused}
),
clock as materialized (
    select
        found.key,
        greatest(
            coalesce(
                (
                    select next_start_at
                    from {schema}.rate_clock
                    where limiter = %(limiter)s::text and rate_clock.key = found.key
                ),
                '-infinity'
            ),
            now() - make_interval(secs => rate.burst * rate.seconds) -- rule: of a clock no more than the burst is saved up
        ) as start_at
    from rate
    cross join (
        select key from walked
        union
        select key from line
    ) as found
),
placed as materialized (
    select
        candidate.id,
        candidate.priority,
        candidate.at,
        candidate.key,
        candidate.cost,
        candidate.is_held_up,
        candidate.is_in_order,
        clock.start_at + make_interval(
            secs => least(
                (candidate.before + least(candidate.cost, rate.burst + 1) - 1)::float8 * rate.seconds,
                31557600000
            )
        ) as start_at
    from (
        select
            id,
            priority,
            at,
            key,
            cost,
            is_held_up,
            -- Those of the line that are before it have been looked at.
            -- rule: no job overtakes those of its key that are held up
            key = any(array(select key from line))
                or not exists (
                    select from {schema}.rate_line
                    where queue_name = %(queue_name)s::text and rate_line.key = one.key
                    offset 0
                ) as is_in_order,
            coalesce(
                sum(cost) over (
                    partition by key
                    order by priority, at, id
                    rows between unbounded preceding and 1 preceding
                ),
                0
            ) as before -- rule: each job pays its cost
        from (
            select id, priority, at, key, cost, false as is_held_up from walked
            union all
            select id, priority, at, key, cost, true as is_held_up from held_up
        ) as one
    ) as candidate
    join clock on clock.key = candidate.key
    cross join rate
),
ready as materialized (
    select id, priority, at, key, cost
    from placed
    where is_in_order
        and start_at <= now() -- rule: no more of a key begin than its rate
),
due as materialized (
    select id, key, cost
    from ready
    order by priority, at, id
    limit greatest((select free from free), 0)
),
put_off as (
    update {schema}.job
    set
        limit_key = placed.key,
        was_due_at = placed.at,
        scheduled_at = timestamptz '9000-01-01 00:00:00+00' -- rule: what is too early for its key is walked over once
    from placed
    where job.id = any(array(select id from early))
        and placed.id = job.id
),
early as materialized (
    select id, key, start_at
    from placed
    where not is_held_up
        and not (is_in_order and start_at <= now())
        and (select rate_path from path) is not null
),
{claimed_and_let_go},
spent as materialized (
    select due.key, sum(due.cost)::float8 as cost
    from due
    group by due.key
),
paid as (
    insert into {schema}.rate_clock (limiter, key, next_start_at)
    select
        %(limiter)s::text,
        clock.key,
        -- rule: a clock's token is spent once
        clock.start_at + make_interval(secs => least(spent.cost * rate.seconds, 31557600000))
    from spent
    join clock on clock.key = spent.key
    cross join rate
    order by clock.key
    on conflict (limiter, key) do update
    set next_start_at = excluded.next_start_at
),
dropped as (
    delete from {schema}.rate_clock
    where limiter = %(limiter)s::text
        and key = any(array(
            select key
            from {schema}.rate_clock
            where limiter = %(limiter)s::text
                -- rule: clocks of idle keys are dropped
                and next_start_at <= now() - (
                    select make_interval(secs => burst * seconds) from rate
                )
                and key <> all(array(select key from spent))
            order by next_start_at
            limit 2 * %(limit)s::bigint
        ))
),
-- When the first job in each line may begin that has been looked at, or has something new in it.
ahead as materialized (
    select key, min(look_at) as look_at
    from (
        select
            line.key,
            case
                -- Somebody else has what is there locked.
                when exists (select from held_up where held_up.key = line.key)
                then next.start_at
                else greatest(next.start_at, now() + interval '100 milliseconds')
            end as look_at
        from line
        cross join lateral (
            select
                clock.start_at + make_interval(
                    secs => least(
                        (
                            coalesce((select cost from spent where spent.key = line.key), 0)
                            + least({cost}, rate.burst + 1) - 1
                        )::float8 * rate.seconds,
                        31557600000
                    )
                ) as start_at
            from {schema}.job
            cross join rate
            cross join clock
            where queue_name = %(queue_name)s::text
                and limit_key = line.key
                and {is_held_up}
                and left(coalesce(input #>> (select rate_path from path), ''), 200) = line.key
                and id <> all(array(select id from due))
                and clock.key = line.key
            order by priority, was_due_at, id
            limit 1
        ) as next
        union all
        select key, start_at from early
    ) as first
    group by key
),
dated as (
    insert into {schema}.rate_line (queue_name, key, look_at)
    select %(queue_name)s::text, key, look_at
    from ahead
    order by key
    on conflict (queue_name, key) do update
    set look_at = case
        when excluded.key = any(array(select key from line)) then excluded.look_at
        else least(rate_line.look_at, excluded.look_at)
    end
    returning look_at
),
ended as (
    delete from {schema}.rate_line
    where queue_name = %(queue_name)s::text
        -- rule: a line that nobody is in is looked at no more
        and key = any(array(select key from line where key not in (select key from ahead)))
),
next_look as materialized (
    select
        least(
            (select min(look_at) from dated),
            (
                select look_at
                from {schema}.rate_line
                where queue_name = %(queue_name)s::text
                    and key <> all(array(select key from line))
                    and key <> all(array(select key from ahead))
                order by look_at
                limit 1
            ),
            (
                select min(start_at) from placed
                where start_at > now() and (select rate_path from path) is null
            )
        ) as at
),
answer as materialized (
    select
        (select count(*) from due) < (select free from free) as has_room,
        coalesce((select free from free), 0) < %(limit)s::bigint as has_limit,
        (select at from next_look) as at
)
select
    {awaited_told},
    at is not null or (has_limit and not coalesce(has_room, false)) as is_full,
    coalesce(
        has_room
        and (
            at <= now()
            or (
                (select count(*) from walked) = (select number from walk)
                and (select rate_path from path) is not null
            )
        ),
        false
    ) as has_more,
    case
        when at is not null and (coalesce(has_room, false) or not has_limit)
        then greatest(extract(epoch from at - now()), 0)::float8
    end as room_in,
    {claimed_row}
from answer
left join claimed on true
order by claimed.priority, claimed.run_at, claimed.id
