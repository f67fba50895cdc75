-- Claim as claim_limited.sql does, but fairly between keys. The jobs of each key wait in a lane, by
-- priority and age; the key is what the queue's path leads to in a job's input, up to 200 characters of it.
-- From each lane come its first jobs: the sooner, the fewer jobs of its key run, and the fewer of them have
-- ended at this worker of late, which it says by `used`. A key with a weight of 3 may have three times as much.
-- Of keys that have had as much, the job that is older comes first, so that none waits for ever.
-- What is dear about a claim are the lanes that it looks at, `lanes` of them from `from_lane` on: never how
-- many jobs wait in them.
-- A job that was inserted without a lane, as plain SQL does it, is released, or has been scheduled for later,
-- is given one: of all that is pending, `walk` jobs are looked at for that, from a position on, in
-- turn. There always is a row: it says where the next claim goes on, and whether it would find more.
-- Safe under concurrency: as claim_limited.sql is. Rows that others have locked are left out; what was
-- claimed or cancelled since this began is no more pending once it is locked, and left out, too.
with recursive {room},
{tokens},
{free_of_all_keys},
path as materialized (
    select lane_path from {schema}.queue where name = %(queue_name)s::text
),
walked as materialized (
    select id, priority, run_at, lane is null and run_at <= now() as is_new
    from {schema}.job
    where queue_name = %(queue_name)s::text
        and status = 'pending'
        and (priority, run_at, id)
            > (%(priority)s::smallint, %(run_at)s::timestamptz, %(id)s::uuid)
    order by priority, run_at, id
    limit %(walk)s::bigint
),
last as materialized (
    select priority, run_at, id
    from walked
    order by priority, run_at, id
    offset %(walk)s::bigint - 1
    limit 1
),
new as materialized (
    select id
    from {schema}.job
    where id = any(array(select id from walked where is_new))
        and status = 'pending'
    order by id
    for no key update skip locked
),
laned as (
    update {schema}.job
    set lane = left(coalesce(input #>> (select lane_path from path), ''), 200)
    where id = any(array(select id from new)) -- rule: what has no lane is given one
    returning id
),
lane (lane, number) as (
    (
        select lane, 1 from {schema}.job
        where queue_name = %(queue_name)s::text
            and lane is not null
            and status = 'pending'
            and lane >= %(from_lane)s::text
        order by lane limit 1
    )
    union all
    select (
        select job.lane from {schema}.job
        where queue_name = %(queue_name)s::text
            and job.lane is not null
            and status = 'pending'
            and job.lane > lane.lane
        order by job.lane limit 1
    ), number + 1
    from lane
    where lane.lane is not null and number <= %(lanes)s::bigint
),
looked_at as materialized (
    select lane from lane where lane is not null and number <= %(lanes)s::bigint
),
running as materialized (
    select lane, count(*) as number
    from {schema}.job
    where queue_name = %(queue_name)s::text
        and reserved_at is not null
        and finished_at is null
        and cancelled_at is null
    group by lane
),
used as materialized (
    select * from unnest(%(key)s::text[], %(used)s::float8[]) as u (key, number)
),
weight as materialized (
    select * from unnest(%(weighted)s::text[], %(weight)s::float8[]) as w (key, weight)
),
part as materialized (
    select least(
        %(limit)s::bigint, 2 * %(limit)s::bigint / greatest(count(*), 1) + 1
    ) as each
    from looked_at
),
candidate as materialized (
    select
        waiting.id,
        waiting.run_at,
        looked_at.lane,
        row_number() over (
            partition by looked_at.lane order by waiting.priority, waiting.run_at, waiting.id
        ) as rank
    from looked_at
    cross join lateral (
        select id, priority, run_at
        from {schema}.job
        where queue_name = %(queue_name)s::text
            and job.lane = looked_at.lane
            and status = 'pending'
            and run_at <= now() -- rule: in a lane, too, a job is due
            and {follows_none}
        order by priority, run_at, id
        limit (select each + 1 from part)
    ) as waiting
    where {not_paused}
),
chosen as materialized (
    select candidate.id
    from candidate
    left join running on running.lane = candidate.lane
    left join used on used.key = candidate.lane
    left join weight on weight.key = candidate.lane
    where candidate.rank <= (select each from part)
    order by
        (
            candidate.rank
            + coalesce(running.number, 0) -- rule: the fewer of a key run, the sooner it comes
            + coalesce(used.number, 0) -- rule: the less a key has had of late, the sooner it comes
        ) / coalesce(weight.weight, 1), -- rule: a key has as much as its weight says
        candidate.run_at, -- rule: in no lane a job waits for ever
        candidate.id
    limit greatest((select free from free), 0)
),
due as materialized (
    select id
    from {schema}.job
    where id = any(array(select id from chosen))
        and status = 'pending'
    order by id
    for no key update skip locked
),
{claimed},
{spent},
left_jobs as materialized (
    select
        (select count(*) from due) >= (select free from free)
        and (select free from free) < %(limit)s::bigint as has_left
),
{turn_taken}
select
    {awaited_told},
    (select has_left from left_jobs) as is_full,
    exists (select from laned)
        or (
            (select count(*) from chosen) < %(limit)s::bigint
            and exists (select from candidate where rank > (select each from part))
        ) as has_more,
    {room_in},
    (select lane from lane where number > %(lanes)s::bigint) as next_lane,
    (select priority from last) as last_priority,
    (select run_at::text from last) as last_run_at,
    (select id::text from last) as last_id,
    {claimed_row}
from (select) as always
left join claimed on true
order by claimed.priority, claimed.run_at, claimed.id
