-- What became of attempts that `settle` did not write: `repeated` is true where the row was already
-- ended under the same claim token, by an earlier call whose answer was lost. Reads only.
with wanted as (
    select * from unnest(%(id)s::uuid[], %(claim_token)s::uuid[]) as w (id, claim_token)
)
select
    wanted.id::text,
    coalesce(job.claim_token = wanted.claim_token and job.finished_at is not null, false) as repeated
from wanted
left join {schema}.job on job.id = wanted.id
