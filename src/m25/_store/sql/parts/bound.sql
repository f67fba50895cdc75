-- Where a part of a walk over jobs by id, downwards, ends: the `bound` is its last row, if there are more
-- rows. By what `source` says it is a walk over the whole table, or over what has failed or was
-- cancelled; or, of what has not ended, which an index has by other columns, it is all, and no bound.
bound as materialized (
    (
        select id
        from {schema}.job
        where id < %(after)s::uuid and %(source)s::text = 'all'
        order by id desc
        offset %(walk)s::bigint
        limit 1
    )
    union all
    (
        select id
        from {schema}.job
        where status in ('failed', 'cancelled')
            and id < %(after)s::uuid
            and %(source)s::text = 'unsuccessful'
        order by id desc
        offset %(walk)s::bigint
        limit 1
    )
)
