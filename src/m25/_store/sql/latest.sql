-- Read the latest attempt of each chain, by the id that was asked. Reads only.
with {latest}
select
    latest.asked::text as asked,
    {job_row}
from latest
join {schema}.job on job.id = latest.latest_id
where job.id = any(array(select latest_id from latest))
