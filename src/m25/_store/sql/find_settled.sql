-- What became of attempts that `settle` did not write: an earlier call had ended the row under the
-- same claim token, and its answer was lost; or the row is still executing under that token, and so
-- was locked by somebody; or the claim is fenced. Reads only.
with wanted as (
    {wanted}
),
found as (
    select id, claim_token, finished_at, status
    from {schema}.job
    where id = any(%(id)s::uuid[])
)
select
    wanted.id::text,
    case
        when found.claim_token is distinct from wanted.claim_token then 'fenced'
        when found.finished_at is not null then 'repeated'
        when found.status = 'executing' then 'locked' -- rule: a locked outcome is not fenced
        else 'fenced'
    end as result
from wanted
left join found on found.id = wanted.id
