-- Cancel what jobs have started, and what that has started, down to the last: the jobs of `id` and
-- all below them, and all below those of `parent_id`. Ids are those of first attempts. What is pending
-- is cancelled at once; what is claimed is asked for, and its owner ends it.
-- It is to be repeated until no row comes back. Each time, whatever was inserted before its parent was
-- cancelled, or asked for, is seen by the next statement at the latest: a parent like that starts
-- nothing more (start_children.sql), and is not tried again. A single statement would miss a child,
-- or the next attempt of one, that is committed while it runs.
-- It goes down through rows of every status, so that a tree that was left half done is done by whoever
-- repeats it, and by the end of the job at its top at the latest.
-- Where an attempt cancels what it has started, it does so under its claim: `holder`, whose row is locked
-- meanwhile. So who has lost its job cancels nothing of what the next attempt has found again.
-- Safe under concurrency: nothing is waited for, so two of these cannot deadlock, nor can this and
-- anything else. A row that somebody has locked comes back as not done; one that has ended meanwhile
-- does, too, and the next time it is gone. What is done already is not written again.
with recursive holder as materialized (
    select id
    from {schema}.job
    where id = %(holder_id)s::uuid
        and claim_token = %(holder_token)s::uuid -- rule: who has lost its job cancels none below it
        and status = 'executing'
    for no key update skip locked
),
given (id) as (
    select id
    from unnest(%(id)s::uuid[]) as id
    where %(holder_id)s::uuid is null or exists (select from holder)
),
tree (job_id) as (
    (
        select unnest(%(parent_id)s::uuid[])
        union all
        select id from given
    )
    union
    select child.job_id
    from tree
    cross join lateral (
        select coalesce(original_attempt_id, id) as job_id
        from {schema}.job
        where parent_id = tree.job_id
            and has_children -- rule: a cancel goes down the tree
        -- Each is looked up by the index, whatever the planner believes about their number.
        offset 0
    ) as child
),
wanted as materialized (
    select child.id
    from tree
    cross join lateral (
        select id
        from {schema}.job
        where parent_id = tree.job_id and {to_be_cancelled}
        offset 0
    ) as child
    union
    select attempt.id
    from given
    cross join lateral (
        select id
        from {schema}.job
        where id = given.id and {to_be_cancelled}
        union all
        select id
        from {schema}.job
        where original_attempt_id = given.id and {to_be_cancelled}
        offset 0
    ) as attempt
),
held as materialized (
    select id, reserved_at is null as is_pending
    from {schema}.job
    where id = any(array(select id from wanted)) and {to_be_cancelled}
    for no key update skip locked -- rule: a tree's cancel waits for no lock
),
cancelled as (
    update {schema}.job
    set cancelled_at = now(), cancelled_by = %(by)s::text, cancel_reason = %(reason)s::text
    where id = any(array(select id from held where is_pending))
    returning
        id, queue_name, attempt, max_attempts, losses, original_attempt_id, waiter
),
asked as (
    update {schema}.job
    set cancel_requested_at = now(), cancelled_by = %(by)s::text, cancel_reason = %(reason)s::text
    where id = any(array(select id from held where not is_pending))
    returning id, queue_name, attempt, max_attempts, losses
)
select
    id::text, queue_name, attempt, max_attempts, losses, true as is_cancelled,
    {end_notified} as notified
from cancelled
union all
select
    id::text, queue_name, attempt, max_attempts, losses, false,
    case
        when %(notifies)s::boolean
        then pg_notify(
            (select channel from {schema}.queue where queue.name = asked.queue_name), id::text
        )::text
    end
from asked
union all
select id::text, null, null, null, null, null, null
from wanted
where id not in (select id from held)
union all
-- Somebody has it locked, or has ended it meanwhile.
select id::text, null, null, null, null, null, null
from {schema}.job
where id = %(holder_id)s::uuid
    and claim_token = %(holder_token)s::uuid
    and status = 'executing'
    and not exists (select from holder)
