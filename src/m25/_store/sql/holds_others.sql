-- Whether a job has failed for good, and its key stands still for it: a row comes back, or none. Reads only.
select job_id from {schema}.stopped_key where job_id = %(id)s::uuid
