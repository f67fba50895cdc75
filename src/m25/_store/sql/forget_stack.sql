-- Forget a request for a job's stack, and the answer. A later request, which somebody else waits for,
-- is left as it is. Safe under concurrency: the condition is checked again on the row once it is locked,
-- and whoever has locked it is waited for as long as is said.
with {bounded}
update {schema}.job
set stack_asked_at = null, stack = null
from bounded
where id = %(id)s::uuid
    and extract(epoch from stack_asked_at)::text = %(asked_at)s::text -- rule: a later request stays
returning id::text
