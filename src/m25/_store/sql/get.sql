-- Read jobs by id. Times come as seconds since the epoch and JSON as text, so that a value Python
-- cannot hold is the reader's problem and not the whole batch's.
select
    {job_row}
from {schema}.job
where id = any(%(id)s::uuid[])
