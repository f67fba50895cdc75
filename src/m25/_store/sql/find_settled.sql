-- What became of attempts that `settle` did not write: `repeated` is true where the row was already
-- ended under the same claim token, by an earlier call whose answer was lost. Reads only.
with wanted as (
    {wanted}
),
found as (
    select id, claim_token, finished_at
    from {schema}.job
    where id = any(%(id)s::uuid[])
)
select
    wanted.id::text,
    coalesce(
        found.claim_token = wanted.claim_token and found.finished_at is not null, false
    ) as repeated
from wanted
left join found on found.id = wanted.id
