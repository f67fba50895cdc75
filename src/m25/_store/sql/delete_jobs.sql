-- Delete jobs that have ended, by the id of any of their attempts, each with all that belongs to it.
-- Safe under concurrency: what is left and what goes, deleted_trees.sql says, what has not ended among it.
with recursive {latest},
seen as materialized (
    select distinct
        latest.asked,
        coalesce(job.original_attempt_id, job.id) as job_id,
        job.parent_id,
        job.has_children
    from latest
    join {schema}.job on job.id = latest.latest_id
    where job.id = any(array(select latest_id from latest))
),
ended as materialized (
    select distinct job_id as id, has_children
    from seen
    where parent_id is null -- rule: a job is deleted with that which started it
),
{deleted_trees}
select
    seen.asked::text,
    case
        when seen.job_id in (select root_id from pruned) then null
        when seen.parent_id is not null then 'child'
        when seen.job_id not in (select root_id from whole) then 'live'
        else 'locked'
    end as refusal,
    null as other_id,
    (select count(*) from deleted) as attempts
from seen
