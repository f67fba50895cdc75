-- Have jobs looked at now that were left to newer workers, those first that would be looked at first.
-- Safe under concurrency: the rows are locked, and were pending when they were; what somebody else has
-- locked is left out. They only come sooner: whoever claims them looks at them like any other.
with newer as materialized (
    select id from {schema}.job
    where queue_name = %(queue_name)s::text
        and {left_to_newer}
        and scheduled_at > now()
    order by scheduled_at
    limit %(limit)s::bigint
    for no key update skip locked
),
recalled as (
    update {schema}.job
    set scheduled_at = now()
    where id = any(array(select id from newer))
    returning id
)
select count(*)::text from recalled
