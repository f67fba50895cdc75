-- Delete jobs of a queue that ended long ago, each with all its attempts and all that it has started, down
-- to the last; steps, messages and keys go by a trigger. It is a walk over the table by id, some rows at a
-- time: of these, those are looked at that are the first attempt of a job which no other has started.
-- There always is one row: it says where the walk has come to.
-- Safe under concurrency: nothing that has ended changes, and only what is live can start others or be
-- followed by another attempt; so a tree that is seen to have ended as a whole stays as it is. A tree of
-- which somebody has locked a row is left for another time, as a whole. Two of these at once do different
-- trees, or one of them leaves it to the other.
with recursive walked as materialized (
    select id, queue_name, parent_id, original_attempt_id
    from {schema}.job
    where id > %(after)s::uuid and id <= %(until)s::uuid
    order by id
    limit %(walk)s::bigint
),
ended as materialized (
    select walked.id, latest.has_children
    from walked
    cross join lateral (
        select attempt.status, attempt.ended_at, attempt.has_children
        from (
            select first.status, coalesce(first.finished_at, first.cancelled_at) as ended_at,
                first.has_children, first.attempt
            from {schema}.job as first
            where first.id = walked.id
            union all
            select next.status, coalesce(next.finished_at, next.cancelled_at),
                next.has_children, next.attempt
            from {schema}.job as next
            where next.original_attempt_id = walked.id
        ) as attempt
        order by attempt.attempt desc
        limit 1
    ) as latest
    where walked.queue_name = %(queue_name)s::text
        and walked.original_attempt_id is null
        and walked.parent_id is null -- rule: a job is kept as long as that which started it
        -- rule: a job is kept for its time
        and latest.ended_at < now()
            - case latest.status
                when 'succeeded' then %(succeeded)s::interval
                when 'failed' then %(failed)s::interval
                when 'cancelled' then %(cancelled)s::interval
            end
),
tree (root_id, job_id, has_children) as (
    select id, id, has_children from ended
    union
    select tree.root_id, child.job_id, child.has_children
    from tree
    cross join lateral (
        select coalesce(original_attempt_id, id) as job_id, has_children
        from {schema}.job
        where parent_id = tree.job_id
        offset 0
    ) as child
    where tree.has_children
),
member as materialized (
    select tree.root_id, attempt.id, attempt.is_live
    from (select distinct root_id, job_id from tree) as tree
    cross join lateral (
        select first.id, first.finished_at is null and first.cancelled_at is null as is_live
        from {schema}.job as first
        where first.id = tree.job_id
        union all
        select next.id, next.finished_at is null and next.cancelled_at is null
        from {schema}.job as next
        where next.original_attempt_id = tree.job_id
    ) as attempt
),
whole as materialized (
    select root_id, count(*) as number
    from member
    group by root_id
    having not bool_or(is_live) -- rule: a tree of which something is live is kept
),
locked as materialized (
    select id
    from {schema}.job
    where id = any(array(select member.id from member join whole using (root_id)))
    order by id
    for update skip locked
),
pruned as materialized (
    select member.root_id
    from member
    join whole using (root_id)
    join locked on locked.id = member.id
    group by member.root_id, whole.number
    having count(*) = whole.number -- rule: a tree is pruned as a whole
),
deleted as (
    delete from {schema}.job
    where id = any(array(select member.id from member join pruned using (root_id)))
    returning id
)
select
    (select count(*) from walked) as walked,
    (select id::text from walked order by id desc limit 1) as last_id,
    (select count(*) from pruned) as jobs,
    (select count(*) from deleted) as attempts
