-- What became of steps that `keep_steps` did not keep: each was there already; or its attempt is still
-- executing under the claim's token, and so was locked by somebody; or the claim is fenced. Reads only.
with wanted as (
    {wanted_steps}
),
held as (
    select id, claim_token
    from {schema}.job
    where id = any(%(id)s::uuid[]) and status = 'executing'
),
kept as (
    select job_id, {step_row}
    from {schema}.step
    where job_id = any(%(job_id)s::uuid[])
)
select
    wanted.number,
    held.id is null as is_fenced,
    kept.job_id is not null as is_kept,
    kept.kind,
    kept.name,
    kept.key,
    kept.fingerprint,
    kept.until,
    kept.seconds_left,
    kept.output
from wanted
left join held on held.id = wanted.id and held.claim_token = wanted.claim_token
left join kept using (job_id, kind, name, key)
