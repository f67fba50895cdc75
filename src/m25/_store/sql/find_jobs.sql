-- Find jobs by what they are, in a part of a walk over the table. There always is one row: it says where
-- the walk has come to. Reads only. A job that changes meanwhile is found as it was, and one whose next
-- attempt is inserted meanwhile may be found in neither; whoever looks again finds it.
with {looked_at},
chosen as materialized (
    select id from found order by id desc limit %(limit)s::bigint
)
select
    bound.id::text as bound_id,
    (
        select extract(epoch from created_at)::text from {schema}.job where job.id = bound.id
    ) as bound_created_at,
    job.id, job.job_id, job.queue_name, job.status, job.attempt, job.max_attempts, job.losses,
    job.priority, job.created_at, job.run_at, job.started_at, job.ended_at,
    job.failure_reason, job.error, job.input, job.unique_key, job.parent_id, job.is_to_cancel
from (values (true)) as always (is_there)
left join bound on true
left join lateral (
    select
        {found_job}
    from {schema}.job
    where id = any(array(select id from chosen))
    offset 0
) as job on true
order by job.id desc
