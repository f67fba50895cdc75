-- Of each priority in use in the queue, the one that follows it, by one index probe; null after the last.
select (
    select job.priority from {schema}.job
    where queue_name = %(queue_name)s::text and status = 'pending' and job.priority > level.priority
    order by job.priority limit 1
)
from level
where level.priority is not null
