-- Ask the owner of a claimed job where its handler waits; what was answered before is forgotten.
-- Safe under concurrency: the condition is checked again on the row as it is once locked, and the
-- owner's own writes look at neither column. Of several requests the latest counts, and its answer is
-- for all. The workers of the queue are notified, of whom one is the owner. A row without a claim token
-- has an owner that knows of no requests.
with {bounded}
update {schema}.job
set stack_asked_at = clock_timestamp(), stack = null
from bounded
where id = %(id)s::uuid
    and status in ('reserved', 'executing') -- rule: a stack is asked of a live job alone
    and claim_token is not null
returning
    extract(epoch from stack_asked_at)::text as asked_at,
    case
        when %(notifies)s::boolean then pg_notify(%(channel)s::text, %(payload)s::text)::text
    end as notified
