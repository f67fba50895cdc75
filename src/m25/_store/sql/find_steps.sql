-- Read what handlers have done once, of several jobs, each by the id of its first attempt. Reads only.
select
    job_id::text,
    {step_row}
from {schema}.step
where job_id = any(%(job_id)s::uuid[])
order by job_id, created_at
