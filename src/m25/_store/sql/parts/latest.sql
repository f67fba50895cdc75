-- The latest attempt of each chain, by the id that was `asked`, of any of its attempts. The next attempt
-- is inserted with the end of the one before it: so if the latest has ended, the chain has.
latest as materialized (
    select asked.id as asked, attempt.id as latest_id
    from unnest(%(id)s::uuid[]) as asked (id)
    join {schema}.job as named on named.id = asked.id
    cross join lateral (
        select first.id, first.attempt
        from {schema}.job as first
        where first.id = coalesce(named.original_attempt_id, named.id)
        union all
        select next.id, next.attempt
        from {schema}.job as next
        where next.original_attempt_id = coalesce(named.original_attempt_id, named.id)
        order by attempt desc
        limit 1
    ) as attempt
    where named.id = any(%(id)s::uuid[])
)
