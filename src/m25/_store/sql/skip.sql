-- Skip jobs that have failed for good and hold those of their key behind them: these go on, and what has failed
-- stays as it is.
-- Safe under concurrency: it deletes rows that say for which job a key stands still, and the next claim looks
-- whether there is one. A retry at the same time deletes the same row: whoever is second finds none.
with wanted as materialized (
    select id as asked, coalesce(original_attempt_id, id) as job_id, queue_name
    from {schema}.job
    where id = any(%(id)s::uuid[])
),
skipped as (
    delete from {schema}.stopped_key
    where job_id = any(array(select job_id from wanted)) -- rule: what is skipped holds its key no more
    returning job_id
)
select
    wanted.asked::text,
    case when skipped.job_id is null then 'holds none' end as refusal,
    null::text as other_id,
    (
        select count(pg_notify(channel, ''))
        from {schema}.queue
        where name = wanted.queue_name and channel is not null and skipped.job_id is not null
            and %(notifies)s::boolean
    ) as notified
from wanted
left join skipped on skipped.job_id = wanted.job_id
