-- Receive messages for handlers that wait for them: for each the oldest of its name that nobody has
-- received, kept as a step in the same commit. Where none has come, until when the handler waits is
-- kept, if it is not there yet; what came later than that is not for it.
-- Safe under concurrency: the row of each attempt is locked first, and must be executing under the
-- claim's own token. Whoever sends a message locks the same row, and counts it there. `messages` is the
-- count of the statement's snapshot, as are the messages that it looks at, and not that of the locked
-- row: a message that was committed in between changes the row's count, by which release.sql knows that
-- the handler has not seen it. A step is one handler's affair, and is repeated after a lost answer:
-- where the lost one has received the message in between, `is_stale` says that it is to be asked again.
with wanted as (
    select *
    from unnest(
        %(id)s::uuid[],
        %(claim_token)s::uuid[],
        %(job_id)s::uuid[],
        %(name)s::text[],
        %(key)s::text[],
        %(timeout)s::interval[]
    ) with ordinality as w (id, claim_token, job_id, name, key, timeout, number)
),
held as materialized (
    select claim.id, claim.claim_token
    from {schema}.job
    join (select distinct id, claim_token from wanted) as claim
        on claim.id = job.id
        and claim.claim_token = job.claim_token -- rule: a message goes to the claim that holds its job
    where job.id = any(%(id)s::uuid[])
        and job.status = 'executing'
    order by job.id
    for no key update of job skip locked
),
seen as (
    select id, coalesce(messages, 0) as messages
    from {schema}.job
    where id = any(%(id)s::uuid[])
),
kept as (
    select job_id, {step_row}
    from {schema}.step
    where job_id = any(%(job_id)s::uuid[]) and kind = 'receive'
),
chosen as materialized (
    select wanted.number, message.id, message.job_id
    from wanted
    join held on held.id = wanted.id and held.claim_token = wanted.claim_token
    left join kept using (job_id, name, key)
    cross join lateral (
        select message.id, message.job_id
        from {schema}.message
        where message.job_id = wanted.job_id
            and message.name = wanted.name
            and message.received_at is null
            -- rule: what comes after a timeout is not received
            and (kept.until is null or extract(epoch from message.created_at) < kept.until::numeric)
        order by message.id -- rule: messages are received in order
        limit 1
    ) as message
    where kept.output is null -- rule: what was received is received once
),
taken as (
    update {schema}.message
    set received_at = now()
    from chosen
    where message.job_id = chosen.job_id
        and message.id = chosen.id
        and message.received_at is null
    returning chosen.number, message.value
),
written as (
    insert into {schema}.step (job_id, kind, name, key, attempt_id, until, output)
    select
        wanted.job_id,
        'receive',
        wanted.name,
        wanted.key,
        wanted.id,
        -- Within what a timestamp can hold, as a deadline is.
        case
            when taken.number is null
            then now() + make_interval(
                secs => greatest(least(extract(epoch from wanted.timeout), 31557600000), 0)::float8
            )
        end,
        taken.value
    from wanted
    join held on held.id = wanted.id and held.claim_token = wanted.claim_token
    left join chosen using (number)
    left join taken using (number)
    where taken.number is not null or (chosen.number is null and wanted.timeout is not null)
    on conflict (job_id, kind, name, key) do update
    set output = excluded.output, attempt_id = excluded.attempt_id
    where step.output is null and excluded.output is not null
    returning job_id, {step_row}
)
select
    wanted.number,
    held.id is not null as is_held,
    chosen.number is not null and taken.number is null as is_stale,
    written.output is not null as is_new,
    seen.messages,
    coalesce(written.kind, kept.kind) as kind,
    wanted.name,
    wanted.key,
    coalesce(written.fingerprint, kept.fingerprint) as fingerprint,
    coalesce(written.until, kept.until) as until,
    coalesce(written.seconds_left, kept.seconds_left) as seconds_left,
    coalesce(written.output, kept.output) as output
from wanted
left join held on held.id = wanted.id and held.claim_token = wanted.claim_token
left join seen on seen.id = wanted.id
left join kept using (job_id, name, key)
left join written using (job_id, name, key)
left join chosen using (number)
left join taken using (number)
