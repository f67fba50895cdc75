-- Keys of ordered queues that stand still, since a job has failed for good that holds those behind it, with
-- how long the first has. A queue is named once, by its oldest, and one that has no order
-- any more is not. Reads only.
select distinct on (queue_name)
    queue_name as queue,
    count(*) over (partition by queue_name) as keys,
    job_id::text as job,
    extract(epoch from now() - stopped_at)::float8 as age
from {schema}.stopped_key
join {schema}.queue on queue.name = stopped_key.queue_name
where queue.order_path is not null
order by queue_name, stopped_at
