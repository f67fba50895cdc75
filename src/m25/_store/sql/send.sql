-- Send a message to a job, whose latest attempt the caller names: it is received by whatever attempt asks
-- for it. A job that is set aside for such a message is due at once, and its workers are notified.
-- Safe under concurrency: the attempt's row is locked first, and must be live or pending as it is once
-- locked; so messages to one job are in the order of their commits, and none comes once the job has
-- ended. What is counted on the row is seen by whoever sets the job aside meanwhile. The time of a
-- message is that at which its row was locked: a handler that waits until a time, and looks for messages
-- after that, knows that none of before will come. A repeat, by the message's key, changes nothing.
with {bounded},
named as (
    select coalesce(original_attempt_id, id) as job_id
    from {schema}.job
    where id = %(id)s::uuid and queue_name = %(queue_name)s::text
),
held as materialized (
    select
        job.id,
        coalesce(job.original_attempt_id, job.id) as job_id,
        job.reserved_at is null
            and job.awaits is not distinct from %(name)s::text -- rule: who waits for a message is woken
            as is_awaited
    from bounded, {schema}.job
    where job.id = %(id)s::uuid
        and job.queue_name = %(queue_name)s::text
        and job.finished_at is null -- rule: nothing is sent to a job that has ended
        and job.cancelled_at is null
    for no key update of job
),
sent as (
    insert into {schema}.message (job_id, key, name, value, created_at)
    select job_id, %(key)s::text, %(name)s::text, %(value)s::jsonb, clock_timestamp()
    from held
    on conflict (job_id, key) do nothing -- rule: a message is sent once
    returning job_id
),
counted as (
    update {schema}.job
    set
        messages = least(coalesce(job.messages, 0), 2147483646) + 1, -- rule: a message is counted
        awaits = case when held.is_awaited then null else job.awaits end,
        scheduled_at = case
            when held.is_awaited
            then least(job.scheduled_at, now())
            else job.scheduled_at
        end
    from held, sent
    where job.id = any(array(select id from held))
        and held.id = job.id
    returning held.is_awaited
)
select
    exists (select from sent) as is_sent,
    exists (select from counted where is_awaited) as is_woken,
    exists (
        select
        from {schema}.message
        where message.job_id = named.job_id and message.key = %(key)s::text
    ) as is_repeated,
    case
        when %(notifies)s::boolean and exists (select from counted where is_awaited)
        then pg_notify(%(channel)s::text, '')::text
    end as notified
from named
