-- Count jobs of a queue, or of all, by status, in a part of a walk over the table: what count_jobs.sql does
-- where nothing else is asked of them, at half the price. Of a row of the table nothing but its queue and
-- its status is looked at; and what an index counts by itself is left to it: what has failed or was
-- cancelled, and, where nothing that has ended is asked for, what is pending. There always is one row.
-- Reads only. A job that changes meanwhile is counted as it was.
with {bound},
unsuccessful as materialized (
    select status, count(*) as number
    from {schema}.job
    where status in ('failed', 'cancelled')
        and id < %(after)s::uuid
        and id >= coalesce((select id from bound), '00000000-0000-0000-0000-000000000000')
        and %(source)s::text in ('all', 'unsuccessful')
        and (%(queue_name)s::text is null or queue_name = %(queue_name)s::text)
        -- rule: a job is counted as its latest attempt
        and {is_latest}
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
        and (%(queue_name)s::text is null or queue_name = %(queue_name)s::text)
),
pending as materialized (
    select count(*) as number
    from {schema}.job
    where status = 'pending'
        and queue_name >= coalesce(%(queue_name)s::text, '')
        and id < %(after)s::uuid
        and %(source)s::text = 'unended'
        and (%(queue_name)s::text is null or queue_name = %(queue_name)s::text)
),
live as materialized (
    select status, count(*) as number
    from {schema}.job
    where reserved_at is not null
        and finished_at is null
        and cancelled_at is null
        and queue_name >= coalesce(%(queue_name)s::text, '')
        and id < %(after)s::uuid
        and %(source)s::text = 'unended'
        and (%(queue_name)s::text is null or queue_name = %(queue_name)s::text)
    group by status
),
counted as materialized (
    select status, number
    from (
        select status, number from unsuccessful
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
        union all
        select 'pending', number from pending
        union all
        select status, number from live
    ) as each
    where number > 0
        and (%(statuses)s::text[] is null or status = any(%(statuses)s::text[]))
)
{counted_in_part}
