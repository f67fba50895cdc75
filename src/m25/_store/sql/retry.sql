-- Have jobs tried once more that have failed, or were cancelled: insert the attempt that follows the latest.
-- What a worker's retry inherits this one does, but for `expires_at`, and it may be one more than
-- `max_attempts` said.
-- Safe under concurrency: the row that is followed is written, as it is. So of two retries at once one
-- finds the row changed, and inserts nothing; and so does whoever is about to delete what has ended
-- (deleted_trees.sql) leave it. The key of a `Unique` is locked, as whoever takes it does, and must
-- still be this job's; a `unique_key` is the index's affair. Rows that somebody has locked are left, so
-- this deadlocks with nobody; but a key that is just being inserted is waited for, for `lock_wait`.
with {bounded},
{latest},
wanted as (
    select *
    from unnest(%(id)s::uuid[], %(next_id)s::uuid[]) as w (id, next_id)
),
seen as materialized (
    -- One job may be asked for by the ids of several of its attempts.
    select distinct on (job.id)
        job.id,
        wanted.next_id,
        coalesce(job.original_attempt_id, job.id) as job_id,
        job.status,
        job.parent_id,
        job.unique_key,
        job.has_begun is not null as has_key,
        job.xmin as version
    from latest
    join wanted on wanted.id = latest.asked
    join {schema}.job on job.id = latest.latest_id
    where job.id = any(array(select latest_id from latest))
    order by job.id
),
own_key as materialized (
    select job_id
    from {schema}.held_key
    where job_id = any(array(select job_id from seen where has_key))
    order by queue_name, key
    for no key update skip locked
),
held as materialized (
    select job.id
    from {schema}.job
    join seen
        on seen.id = job.id
        and seen.version = job.xmin -- rule: of two retries one counts
    where job.id = any(array(select id from seen))
        and job.status in ('failed', 'cancelled') -- rule: what has succeeded or is live is not retried
        and job.parent_id is null -- rule: what another has started is not retried
        -- rule: a retry takes no key from another
        and (job.has_begun is null or seen.job_id in (select job_id from own_key))
    order by job.id
    for no key update of job skip locked
),
followed as (
    update {schema}.job
    set retry_delay = job.retry_delay
    where id = any(array(select id from held))
    returning {failed_columns}
),
next_attempt as (
    insert into {schema}.job (
        id, scheduled_at, attempt, original_attempt_id, previous_attempt_id,
        {inherited_columns}
    )
    select
        (select next_id from seen where seen.id = followed.id),
        now(),
        least(attempt, 2147483646) + 1,
        coalesce(original_attempt_id, id),
        id,
        {retried_columns}
    from bounded, followed
    on conflict do nothing
    returning id, previous_attempt_id, queue_name, original_attempt_id
),
goes_on as (
    delete from {schema}.stopped_key
    where job_id = any(array(select original_attempt_id from next_attempt)) -- rule: a retry lets its key go on
    returning job_id
)
select
    latest.asked::text,
    case
        when next_attempt.id is not null then null
        when seen.status = 'succeeded' then 'succeeded'
        when seen.status not in ('failed', 'cancelled') then 'live'
        when seen.parent_id is not null then 'child'
        when held.id is not null then 'key held'
        when seen.has_key and (
            select true from {schema}.held_key where held_key.job_id = seen.job_id limit 1
        ) is null then 'key held'
        else 'locked'
    end as refusal,
    coalesce(
        next_attempt.id,
        case
            when held.id is not null
            then (
                select holder.id
                from {schema}.job as holder
                where holder.unique_key = seen.unique_key
                    and holder.unique_key is not null
                    and holder.status not in ('failed', 'cancelled')
            )
        end
    )::text as other_id,
    (
        select count(pg_notify(channel, ''))
        from {schema}.queue
        where name = any(array(select queue_name from next_attempt)) and channel is not null
            and %(notifies)s::boolean
    ) as notified
from latest
join seen on seen.id = latest.latest_id
left join held on held.id = seen.id
left join next_attempt on next_attempt.previous_attempt_id = seen.id
