-- Claim ticks of schedules, and insert their jobs: both or neither, as one statement.
-- Safe under concurrency: of all who know the same latest tick, the first has the schedule's row, and
-- moves it on. The others leave out a row that is locked, or find another latest tick there: they
-- claim nothing, and look again. So nobody waits, and a row that a stranger has locked is late alone.
-- Whether the latest job is live is seen as of the statement's beginning. Nobody but who has the row
-- inserts another; a job that ends meanwhile ends a little too late for this look.
with wanted as (
    select *
    from unnest(
        %(name)s::text[],
        %(revision)s::integer[],
        %(after)s::timestamptz[],
        %(until)s::timestamptz[],
        %(overlap)s::text[],
        %(last_job_id)s::uuid[]
    ) as w (name, revision, after, until, overlap, last_job_id)
),
due as materialized (
    select
        schedule.name,
        wanted.until,
        wanted.overlap,
        coalesce(wanted.last_job_id, schedule.last_job_id) as next_job_id,
        schedule.last_job_id
    from {schema}.schedule
    join wanted on wanted.name = schedule.name
    where schedule.name = any(%(name)s::text[])
        and schedule.last_tick = wanted.after -- rule: a tick is claimed once
        and schedule.revision = wanted.revision -- rule: an older declaration does not tick
        and schedule.paused_at is null -- rule: a paused schedule does not tick
        and wanted.until <= now() -- rule: no tick comes early
    for no key update of schedule skip locked -- rule: a locked schedule delays no other
),
judged as materialized (
    select
        due.*,
        due.overlap <> 'allow' and exists (
            select from {schema}.job
            where job.id = due.last_job_id and job.finished_at is null and job.cancelled_at is null
            union all
            select from {schema}.job
            where job.original_attempt_id = due.last_job_id
                and job.finished_at is null
                and job.cancelled_at is null
        ) as is_live
    from due
),
ticked as (
    update {schema}.schedule
    set
        last_tick = judged.until,
        last_job_id = case
            when judged.is_live then judged.last_job_id else judged.next_job_id
        end
    from judged
    where schedule.name = judged.name
        and schedule.name = any(%(name)s::text[])
        and (not judged.is_live or judged.overlap = 'skip') -- rule: a tick waits for the job before
    returning schedule.name, judged.is_live
),
wanted_job as (
    select
        schedule_name,
        {given_of_each},
        {order_number}
    from unnest(
        %(schedule_name)s::text[],
        {given_arrays}
    ) as w (
        schedule_name,
        {given_columns}
    )
),
inserted as (
    insert into {schema}.job (
        attempt,
        order_number,
        {given_columns}
    )
    select
        1,
        order_number,
        {given_columns}
    from wanted_job
    where schedule_name in (select name from ticked where not is_live) -- rule: a tick's job comes with its claim
    order by id
    on conflict do nothing
    returning id
)
select
    judged.name,
    judged.is_live,
    ticked.name is not null as is_ticked,
    (
        select count(pg_notify(channel, ''))
        from unnest(%(channels)s::text[]) as channel
        where %(notifies)s::boolean and exists (select from inserted)
    ) as notified
from judged
left join ticked on ticked.name = judged.name
