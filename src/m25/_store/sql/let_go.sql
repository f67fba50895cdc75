-- Let jobs of a queue go that are held up by a key which its limit or rate has no more: they are as they were
-- before that, and the next claims hold up those that must be. Of those that are held up, `walk` are looked at,
-- from a position on. Once a whole walk has found none, and claims that began before the key was changed
-- have ended, no more is looked for. There always is a row: it says how far the walk has come.
-- By a rate with a key, what is in no line is let go, too: no claim would come to look at it.
-- Safe under concurrency: what others have locked is left out, and what is no more held up once it is locked;
-- the next walk finds it. A claim holds jobs up and puts them in their line in one commit. What is let go though
-- it should not be is looked at by a claim once more.
with held_by as materialized (
    select coalesce(limit_path, rate_path) as path, rate_path
    from {schema}.queue
    where name = %(queue_name)s::text
),
walked as materialized (
    select
        id,
        limit_key,
        priority,
        was_due_at,
        held_by.path is null
            or left(coalesce(input #>> held_by.path, ''), 200) <> limit_key
            -- rule: what is in no line is let go
            or held_by.rate_path is not null and not exists (
                select
                from {schema}.rate_line
                where queue_name = %(queue_name)s::text and rate_line.key = limit_key
                offset 0
            )
            as is_former
    from {schema}.job
    cross join held_by
    where queue_name = %(queue_name)s::text
        and was_due_at is not null
        and reserved_at is null
        and cancelled_at is null
        and (limit_key, priority, was_due_at, id) > (
            %(key)s::text,
            %(priority)s::smallint,
            %(was_due_at)s::timestamptz,
            %(id)s::uuid
        )
    order by limit_key, priority, was_due_at, id
    limit %(walk)s::bigint
),
former as materialized (
    select id
    from {schema}.job
    where id = any(array(select id from walked where is_former))
        and {is_held_up}
    order by id
    for no key update skip locked
),
let_go as (
    update {schema}.job
    set
        scheduled_at = nullif(was_due_at, created_at),
        limit_key = null,
        was_due_at = null
    where id = any(array(select id from former))
    returning id
),
ended as (
    update {schema}.queue
    set keys_changed_at = null
    where name = %(queue_name)s::text
        and keys_changed_at < now() - interval '1 minute' -- rule: a claim may hold jobs up by a former key for a moment
        and %(is_clean)s::boolean
        and (select count(*) from walked) < %(walk)s::bigint
        and not exists (select from walked where is_former)
)
select
    (select count(*) from let_go) as number,
    exists (select from walked where is_former) as found,
    last.limit_key,
    last.priority,
    last.was_due_at::text,
    last.id::text
from (select) as always
left join (
    select limit_key, priority, was_due_at, id
    from walked
    order by limit_key, priority, was_due_at, id
    offset %(walk)s::bigint - 1
    limit 1
) as last on true
