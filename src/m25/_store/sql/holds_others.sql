-- Whether a job has failed for good, and its key stands still for it: a row comes back, or none. Where a queue
-- has no order any more, nothing waits for it. Reads only.
select job_id
from {schema}.stopped_key
join {schema}.queue on queue.name = stopped_key.queue_name
where job_id = %(id)s::uuid
    and queue.order_path is not null
