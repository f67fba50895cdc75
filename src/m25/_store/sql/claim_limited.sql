-- Claim as claim.sql does, but no more jobs than may run under the queue's limit, and begin by its rate;
-- the limit is locked by this transaction. There always is a row: it says whether the limit is reached, also where no job is claimed.
-- A claim that finds the limit reached looks at no job, however many are due. Unless others wait
-- already, it is its turn in a second: see succeed_and_claim.sql.
-- Safe under concurrency: all who claim under the limit hold its lock when they count, and this
-- statement began after it was had. Who ends a job needs no lock: that only makes more room.
with recursive {level},
{room},
{tokens},
free as materialized (
    select
        least(
            size.size - coalesce((select number from taken where key = ''), 0), -- rule: no more than the limit
            (select number from tokens)
        ) as free
    from size
),
{due_in_room},
{claimed},
{spent},
waits as (
    update {schema}.limiter
    set turn_at = now() + interval '1 second'
    where name = %(limiter)s::text
        and turn_at is null -- rule: who waits keeps a turn
        -- By a rate none is passed on; and `spent` writes the row.
        and rate_interval is null
        and (select count(*) from due) >= (select free from free)
        and (select count(*) from due) < %(limit)s::bigint
    returning name
)
select
    {awaited_told},
    (select count(*) from due) >= coalesce((select free from free), 0) as is_full,
    false as has_more,
    null::text as last_key,
    {room_in},
    {claimed_row}
from (select) as always
left join claimed on true
order by claimed.priority, claimed.run_at, claimed.id
