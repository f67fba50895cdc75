-- Claim as claim.sql does, but of each key no more jobs than may run under the queue's limit, which is
-- locked by this transaction. A key is what the limit's path leads to in a job's input, up to 200
-- characters of it; nothing is '', a key like others.
-- A job that is due while all that may run with its key do is held up: its `scheduled_at` is put into
-- the year 9000, and another index has it by its key. So each such job is walked over once, however long
-- it waits, and whatever waits with it. It keeps its place: `was_due_at` is its `run_at`.
-- Jobs come from both, by priority and age: of the next that are due, `walk` are looked at; of those
-- that are held up, the first of each key from `from_key` on, of some hundreds of keys. No more keys are
-- full than jobs run, so few of these are looked at in vain. There always is a row: it says whether
-- there may be more to claim now, and where among the keys the next claim goes on.
-- Safe under concurrency: as claim_limited.sql is. Rows that others have locked are left out.
with recursive {level},
{room},
{tokens},
path as materialized (
    select limit_path from {schema}.queue where name = %(queue_name)s::text
),
walked as materialized (
    select candidate.id, candidate.priority, candidate.at, candidate.key, candidate.is_held_up
    from level
    cross join lateral (
        select
            id,
            priority,
            run_at as at,
            left(coalesce(input #>> (select limit_path from path), ''), 200) as key,
            false as is_held_up
        from {schema}.job
        where queue_name = %(queue_name)s::text
            and status = 'pending'
            and job.priority = level.priority
            and run_at <= now()
            and {follows_none}
        order by run_at, id
        limit %(walk)s::bigint
        for no key update skip locked
    ) as candidate
    where level.priority is not null
        and {not_paused}
    limit %(walk)s::bigint
),
held_up_key (key, number) as (
    (
        select limit_key, 1 from {schema}.job
        where queue_name = %(queue_name)s::text
            and was_due_at is not null
            and reserved_at is null
            and cancelled_at is null
            and limit_key >= %(from_key)s::text
        order by limit_key limit 1
    )
    union all
    select (
        select limit_key from {schema}.job
        where queue_name = %(queue_name)s::text
            and was_due_at is not null
            and reserved_at is null
            and cancelled_at is null
            and limit_key > held_up_key.key
        order by limit_key limit 1
    ), number + 1
    from held_up_key
    where key is not null and number < 500
),
held_up as materialized (
    select waiting.id, waiting.priority, waiting.at, waiting.key, waiting.is_held_up
    from held_up_key
    left join taken on taken.key = held_up_key.key
    cross join lateral (
        select id, priority, was_due_at as at, limit_key as key, true as is_held_up
        from {schema}.job
        where queue_name = %(queue_name)s::text
            and was_due_at is not null
            and reserved_at is null
            and cancelled_at is null
            and limit_key = held_up_key.key
            -- rule: what is held up by a former key waits until it is let go
            and left(coalesce(input #>> (select limit_path from path), ''), 200) = limit_key
            and scheduled_at > timestamptz '8000-01-01 00:00:00+00' -- rule: what somebody has put off waits
        order by priority, was_due_at, id
        limit least(
            %(limit)s::bigint,
            greatest((select size from size) - coalesce(taken.number, 0), 0)
        )
        for no key update skip locked
    ) as waiting
    where held_up_key.key is not null
        and {not_paused}
),
ranked as materialized (
    select
        candidate.id,
        candidate.priority,
        candidate.at,
        candidate.key,
        candidate.is_held_up,
        row_number() over (
            partition by candidate.key order by candidate.priority, candidate.at, candidate.id
        ) <= (select size from size) - coalesce(taken.number, 0) -- rule: no more of a key than the limit
            as has_room
    from (
        select id, priority, at, key, is_held_up from walked
        union all
        select id, priority, at, key, is_held_up from held_up
    ) as candidate
    left join taken on taken.key = candidate.key
),
due as materialized (
    select id
    from ranked
    where has_room
    order by priority, at, id
    limit least(%(limit)s::bigint, (select number from tokens))
),
put_off as (
    update {schema}.job
    set
        limit_key = ranked.key,
        was_due_at = ranked.at,
        scheduled_at = timestamptz '9000-01-01 00:00:00+00' -- rule: a full key is walked over once
    from ranked
    where job.id = any(array(select id from ranked where not (has_room or is_held_up)))
        -- By a newer worker's word there is no key any more.
        and (select limit_path from path) is not null -- rule: without a key no job is held up
        and ranked.id = job.id
),
{claimed_and_let_go},
{spent},
left_jobs as materialized (
    select
        exists (select from held_up_key where key is not null)
        or exists (select from ranked where not has_room) as has_left
),
{turn_taken}
select
    {awaited_told},
    exists (select from held_up_key where key is not null)
        or exists (select from ranked where not has_room)
        or (select count(*) from due) >= (select number from tokens) as is_full,
    (
        (select count(*) from walked) = %(walk)s::bigint
        or (select count(*) from held_up_key where key is not null) = 500
    )
        and (select count(*) from due) < coalesce((select number from tokens), 9223372036854775807)
        as has_more,
    case
        when (select count(*) from held_up_key where key is not null) = 500
        then (select max(key) from held_up_key)
    end as last_key,
    {room_in},
    {claimed_row}
from (select) as always
left join claimed on true
order by claimed.priority, claimed.run_at, claimed.id
