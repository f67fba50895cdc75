-- Of claims whose rows a call did not write, those that were locked by somebody: the row is still live
-- under the claim's token; or pending, where `or_pending` is true. Nobody may have it locked any more
-- by now: the call is to be repeated for it either way. The others are fenced. Reads only.
with wanted as (
    {wanted}
)
select job.id::text
from {schema}.job
join wanted on wanted.id = job.id
where job.id = any(%(id)s::uuid[])
    and (
        job.status in ('reserved', 'executing')
        and job.claim_token = wanted.claim_token -- rule: a locked row is its claim's still
        or job.status = 'pending' and job.has_begun is not false and %(or_pending)s::boolean
    )
