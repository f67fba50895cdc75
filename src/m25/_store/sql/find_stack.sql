-- What has become of a request for a job's stack. Reads only.
select
    status,
    extract(epoch from stack_asked_at)::text as asked_at,
    stack
from {schema}.job
where id = %(id)s::uuid
