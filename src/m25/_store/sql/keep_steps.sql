-- Keep what handlers have done once, under their jobs, so that no later attempt does it again.
-- Safe under concurrency: the row of each attempt is locked first, and must be executing under the
-- claim's own token; so a worker that lost its claim keeps nothing, and no attempt ends while its step
-- is being kept. A next attempt is there only once the one before it has ended: no two of a job keep
-- steps at the same time, and no insert waits for another at the index. A row that somebody else has
-- locked is left out, and keeps none of the others waiting. A repeat after a lost answer finds the step
-- there, and changes nothing. What comes back was kept by this very statement; of the others
-- find_kept.sql tells.
with wanted as (
    {wanted_steps}
),
held as materialized (
    select claim.id, claim.claim_token
    from {schema}.job
    join (select distinct id, claim_token from wanted) as claim
        on claim.id = job.id
        and claim.claim_token = job.claim_token -- rule: a step names its claim's token
    where job.id = any(%(id)s::uuid[])
        and job.status = 'executing' -- rule: an attempt that has ended keeps no step
    order by job.id
    for no key update of job skip locked -- rule: a locked row keeps no other step waiting
),
kept as (
    insert into {schema}.step (
        job_id, kind, name, key, attempt_id, fingerprint, until, output
    )
    select
        wanted.job_id,
        wanted.kind,
        wanted.name,
        wanted.key,
        wanted.id,
        wanted.fingerprint,
        -- Within what a timestamp can hold, as a deadline is.
        case
            when wanted.until_in is not null
            then now() + make_interval(
                secs => greatest(least(extract(epoch from wanted.until_in), 31557600000), 0)::float8
            )
        end,
        wanted.output
    from wanted
    join held on held.id = wanted.id and held.claim_token = wanted.claim_token
    on conflict do nothing -- rule: a step is kept once
    returning job_id, {step_row}
)
select
    wanted.number,
    kept.kind,
    kept.name,
    kept.key,
    kept.fingerprint,
    kept.until,
    kept.seconds_left,
    kept.output
from kept
join wanted using (job_id, kind, name, key)
