-- Delete jobs that may have `ended`, given by the ids of their first attempts, each with all its attempts
-- and all that it has started, down to the last, on whatever queues; steps, messages and keys go by a
-- trigger.
-- Safe under concurrency: only what is live can start others or be followed by another attempt, but for
-- what an operator retries; and that writes the row that is followed, which is noticed here. So a tree
-- that is seen to have ended as a whole stays as it is, or is left. A tree of which somebody has locked a
-- row is left, too, as a whole. Two of these at once do different trees, or one leaves it to the other.
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
    select tree.root_id, attempt.id, attempt.is_live, attempt.version
    from (select distinct root_id, job_id from tree) as tree
    cross join lateral (
        select
            first.id,
            first.finished_at is null and first.cancelled_at is null as is_live,
            first.xmin as version
        from {schema}.job as first
        where first.id = tree.job_id
        union all
        select next.id, next.finished_at is null and next.cancelled_at is null, next.xmin
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
    select job.id
    from {schema}.job
    join member
        on member.id = job.id
        and member.version = job.xmin -- rule: what is retried meanwhile is not deleted
    where job.id = any(array(select member.id from member join whole using (root_id)))
    order by job.id
    for update of job skip locked
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
