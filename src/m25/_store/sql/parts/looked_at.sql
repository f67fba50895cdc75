-- A part of a walk over jobs by id, downwards, as far as bound.sql says: those that are found in it.
-- Of each union all branches but one are never begun, since nothing else than parameters closes them.
{bound},
found as (
    select id, status
    from {schema}.job
    where id < %(after)s::uuid
        and id >= coalesce((select id from bound), '00000000-0000-0000-0000-000000000000')
        and %(source)s::text = 'all'
        and {job_filter}
    union all
    select id, status
    from {schema}.job
    where status in ('failed', 'cancelled')
        and id < %(after)s::uuid
        and id >= coalesce((select id from bound), '00000000-0000-0000-0000-000000000000')
        and %(source)s::text = 'unsuccessful'
        and {job_filter}
    union all
    select id, status
    from {schema}.job
    where status = 'pending'
        and queue_name >= coalesce(%(queue_name)s::text, '')
        and id < %(after)s::uuid
        and %(source)s::text = 'unended'
        and 'pending' = any(%(statuses)s::text[])
        and {job_filter}
    union all
    select id, status
    from {schema}.job
    where reserved_at is not null
        and finished_at is null
        and cancelled_at is null
        and queue_name >= coalesce(%(queue_name)s::text, '')
        and id < %(after)s::uuid
        and %(source)s::text = 'unended'
        and array['reserved', 'executing'] && %(statuses)s::text[]
        and {job_filter}
)
