-- When what is left to newer workers now is looked at next. All such jobs of a queue stand in a line: a
-- hundred are due together at each moment that is a multiple of five seconds by the clock, so that looking
-- at them costs the same however many there are. What has just been looked at goes to the line's end.
-- Two releases at once may both put a hundred at the same moment: then so many more are looked at.
-- No job waits in the line beyond its quarter of an hour: then it is looked at for the last time.
newer as materialized (
    select
        held.id,
        held.queue_name,
        row_number() over (partition by held.queue_name order by held.id) - 1 as number
    from held
    where held.is_newer
),
line as materialized (
    select
        queue.queue_name,
        greatest(last.at, next.at) as at,
        case when last.at >= next.at then last.length else 0 end as length
    from (select distinct queue_name from newer) as queue
    cross join (
        select
            to_timestamp(5 * (floor(extract(epoch from now()) / 5) + 1)) -- rule: what is newer is looked at every five seconds
            as at
    ) as next
    left join lateral (
        select
            latest.at,
            (
                select count(*)
                from (
                    select from {schema}.job
                    where job.queue_name = queue.queue_name
                        and scheduled_at = latest.at
                        and {left_to_newer}
                    limit 100
                ) as place
            ) as length
        from (
            select scheduled_at as at from {schema}.job
            where job.queue_name = queue.queue_name
                and {left_to_newer}
            order by scheduled_at desc
            limit 1
        ) as latest
    ) as last on true
),
next_look as materialized (
    select
        newer.id,
        line.at
            + interval '5 seconds' * floor((line.length + newer.number) / 100.0) -- rule: a hundred newer jobs are looked at together
            as at
    from newer
    join line on line.queue_name = newer.queue_name
)
