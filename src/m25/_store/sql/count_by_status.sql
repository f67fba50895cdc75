-- Count jobs of a queue, or of all, by status, in a part of a walk over the table: what count_jobs.sql does
-- where nothing else is asked of them. What an index counts by itself is left to it: what has failed or was
-- cancelled, and what has not ended. What has succeeded, which most rows have, no index has by itself; it
-- is what is left of all ids of the part, which an index has, too. So no row of the table is read, at a
-- fifth of the price, and it is exact: all that is counted here is of one snapshot.
-- There are two cases in which rows are read, and nothing of them but queue and status. The ids know no
-- queue. And where much is pending, what is pending would be counted anew for each part.
-- There always is one row. Reads only. A job that changes meanwhile is counted as it was.
with {bound},
way as materialized (
    select
        %(source)s::text = 'all'
        and %(queue_name)s::text is null
        and (
            select true
            from {schema}.job
            where status = 'pending' and queue_name >= ''
            offset %(walk)s::bigint / 4
            limit 1
        ) is null as is_by_ids
),
ids as materialized (
    -- The bound is the last of so many.
    select coalesce(
        (select %(walk)s::bigint + 1 from bound),
        (select count(*) from {schema}.job where id < %(after)s::uuid)
    ) as number
    where (select is_by_ids from way)
),
unsuccessful as materialized (
    select
        status,
        count(*) as attempts,
        count(*) filter (
            where (%(statuses)s::text[] is null or status = any(%(statuses)s::text[]))
                -- rule: a job is counted as its latest attempt
                and {is_latest}
        ) as number
    from {schema}.job
    where status in ('failed', 'cancelled')
        and id < %(after)s::uuid
        and id >= coalesce((select id from bound), '00000000-0000-0000-0000-000000000000')
        and %(source)s::text in ('all', 'unsuccessful')
        and (%(queue_name)s::text is null or queue_name = %(queue_name)s::text)
    group by status
),
other as materialized (
    -- To group rows by status would take a fifth longer.
    select
        count(*) filter (where status = 'succeeded') as succeeded,
        count(*) filter (where status = 'pending') as pending,
        count(*) filter (where status = 'reserved') as reserved,
        count(*) filter (where status = 'executing') as executing
    from {schema}.job
    where id < %(after)s::uuid
        and id >= coalesce((select id from bound), '00000000-0000-0000-0000-000000000000')
        and %(source)s::text = 'all'
        and not (select is_by_ids from way)
        and (%(queue_name)s::text is null or queue_name = %(queue_name)s::text)
),
-- Of what has not ended the ids are looked at where it is counted: as a condition of the rows they would
-- have these found by the index of ids, which has all others, too.
pending as materialized (
    select
        count(*) filter (
            where id < %(after)s::uuid
                and id >= coalesce((select id from bound), '00000000-0000-0000-0000-000000000000')
        ) as number
    from {schema}.job
    where status = 'pending'
        and queue_name >= coalesce(%(queue_name)s::text, '')
        and (%(source)s::text = 'unended' or (select is_by_ids from way))
        and (%(queue_name)s::text is null or queue_name = %(queue_name)s::text)
),
live as materialized (
    select
        status,
        count(*) filter (
            where id < %(after)s::uuid
                and id >= coalesce((select id from bound), '00000000-0000-0000-0000-000000000000')
        ) as number
    from {schema}.job
    where reserved_at is not null
        and finished_at is null
        and cancelled_at is null
        and queue_name >= coalesce(%(queue_name)s::text, '')
        and (%(source)s::text = 'unended' or (select is_by_ids from way))
        and (%(queue_name)s::text is null or queue_name = %(queue_name)s::text)
    group by status
),
counted as materialized (
    select status, number
    from (
        select status, number from unsuccessful
        union all
        select 'pending', number from pending
        union all
        select status, number from live
        union all
        select
            'succeeded',
            number
                -- rule: no attempt that has failed is a success
                - coalesce((select sum(attempts) from unsuccessful), 0)::bigint
                - (select number from pending)
                - coalesce((select sum(number) from live), 0)::bigint
        from ids
        union all
        select each.status, each.number
        from other
        cross join lateral (
            values
                ('succeeded', succeeded),
                ('pending', pending),
                ('reserved', reserved),
                ('executing', executing)
        ) as each (status, number)
    ) as each
    where number > 0
        and (%(statuses)s::text[] is null or status = any(%(statuses)s::text[]))
)
{counted_in_part}
