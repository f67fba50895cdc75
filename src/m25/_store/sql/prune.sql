-- Delete jobs of a queue that ended long ago, each with all that belongs to it. It is a walk over the
-- table by id, some rows at a time: of these, those are looked at that are the first attempt of a job
-- which no other has started. There always is one row: it says where the walk has come to.
-- Safe under concurrency: what is left and what goes, deleted_trees.sql says.
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
        -- rule: a job is kept while its key stands still for it
        and not exists (
            select
            from {schema}.stopped_key
            join {schema}.queue on queue.name = stopped_key.queue_name
            where stopped_key.job_id = walked.id
                and queue.order_path is not null -- rule: where there is no order no key stands still
        )
        -- rule: a job is kept for its time
        and latest.ended_at < now()
            - case latest.status
                when 'succeeded' then %(succeeded)s::interval
                when 'failed' then %(failed)s::interval
                when 'cancelled' then %(cancelled)s::interval
            end
),
{deleted_trees}
select
    (select count(*) from walked) as walked,
    (select id::text from walked order by id desc limit 1) as last_id,
    (select count(*) from pruned) as jobs,
    (select count(*) from deleted) as attempts
