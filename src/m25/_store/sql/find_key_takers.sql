-- How the jobs stand that were the last to take these keys: by the key's position among those asked for,
-- counted from 1, the job's latest attempt, and whether the job still holds the key. Without a row the job
-- was deleted.
-- Reads only. The caller has locked the keys by an earlier statement of the transaction, so this one sees
-- whatever was put before. A job that is seen to have begun, or to have ended, will never be pending, or
-- live, again; what else it is may have changed by the time that the caller writes, and is checked then.
with taker as materialized (
    select
        wanted.number,
        held_key.job_id,
        held_key.holding,
        held_key.until,
        (
            select attempt.id
            from (
                select first.id, first.attempt
                from {schema}.job as first
                where first.id = held_key.job_id
                union all
                select next.id, next.attempt
                from {schema}.job as next
                where next.original_attempt_id = held_key.job_id
            ) as attempt
            order by attempt.attempt desc
            limit 1
        ) as latest_id
    from unnest(
        %(queue_name)s::text[], %(key)s::text[]
    ) with ordinality as wanted (queue_name, key, number)
    join {schema}.held_key
        on held_key.queue_name = wanted.queue_name and held_key.key = wanted.key
)
select
    taker.number,
    taker.job_id::text as taker_id,
    case taker.holding
        when 'pending' then coalesce(status = 'pending' and not has_begun, false)
        when 'live' then coalesce(status in ('pending', 'reserved', 'executing'), false)
        when 'within' then taker.until > now()
        else true
    end as is_held,
    {job_row}
from taker
left join lateral (
    select
        {job_columns}
    from {schema}.job
    where job.id = taker.latest_id
    offset 0
) as job on true
