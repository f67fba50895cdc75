-- Take places of a limit outside of jobs, for those who ask, in their order, as far as there is room; the
-- limit is locked by this transaction. There always is a row if there is such a limit: it says by what it
-- counts, also where no place was taken. What is asked for with a key where there is none, or the other way
-- round, is not given.
-- What was taken by the same id before is taken still, with a new lease: so all of it may be repeated. Rows of
-- places that were given back are used again.
-- Of what gets none, the first is noted, with since when it waits; asked for again within three seconds, it
-- waits on. Once that was a second, claims leave it one place: see room.sql. And where jobs have waited for
-- a second for a place, one is left to them; they have until it is asked for again. Where both have waited,
-- they have turns.
-- Safe under concurrency: as claim_limited.sql is. All who take places, and all who claim, have the limit
-- locked when they count, and each of these statements began after it was had. Rows that were given back may be
-- taken by who has another limit locked: one that is locked, or has been taken meanwhile, is left out.
with {room},
kind as materialized (
    select
        coalesce(set_to, declared) is not null as has_limit,
        coalesce(
            (
                select bool_or(limit_path is not null)
                from {schema}.queue
                where queue.limiter = %(limiter)s::text
            ),
            held_path is not null
        ) as has_key,
        coalesce(turn_at <= now(), false)
            and (jobs_next or not exists (select from awaited)) as is_turn
    from {schema}.limiter
    where name = %(limiter)s::text
),
asked as materialized (
    select
        a.id,
        left(coalesce(a.key, ''), 200) as key,
        a.lease,
        a.nth,
        exists (select from outside where outside.id = a.id) as is_there
    from unnest(%(id)s::uuid[], %(key)s::text[], %(lease)s::interval[])
        with ordinality as a (id, key, lease, nth)
    join kind on kind.has_limit and kind.has_key = (a.key is not null)
),
ranked as materialized (
    select
        new.id,
        new.key,
        new.nth,
        row_number() over (partition by new.key order by new.nth)
            - (size.size - coalesce(taken.number, 0) + (awaited.key is not null)::integer)
            as beyond
    from asked as new
    cross join size
    left join taken on taken.key = new.key
    left join awaited on awaited.key = new.key
    where not new.is_there
),
-- The last one that would have had a place of its key.
left_over as materialized (
    select id
    from ranked
    where beyond <= 0 and (select is_turn from kind)
    order by nth desc
    limit 1 -- rule: jobs have a turn, too
),
new as materialized (
    select ranked.id, ranked.key, asked.lease, row_number() over (order by ranked.nth) as number
    from ranked
    join asked on asked.id = ranked.id
    where ranked.beyond <= 0 -- rule: no more hold places than the limit
        and ranked.id not in (select id from left_over)
),
given_back as materialized (
    select id
    from {schema}.limit_holder
    where limiter is null
    order by id
    limit (select count(*) from new)
    for update skip locked
),
spare as materialized (
    select id, row_number() over (order by id) as number from given_back
),
taken_anew as (
    update {schema}.limit_holder
    set
        id = new.id,
        limiter = %(limiter)s::text,
        key = new.key,
        taken_at = now(),
        lease = new.lease,
        lease_expires_at = clock_timestamp() + new.lease
    from spare
    join new on new.number = spare.number
    where limit_holder.id = any(array(select id from spare)) and limit_holder.id = spare.id
    returning limit_holder.id, limit_holder.key
),
inserted as (
    insert into {schema}.limit_holder (id, limiter, key, lease, lease_expires_at)
    select id, %(limiter)s::text, key, lease, clock_timestamp() + lease
    from new
    where number > (select count(*) from spare)
    returning id, key
),
renewed as (
    update {schema}.limit_holder
    set lease_expires_at = clock_timestamp() + lease
    where id = any(array(select id from asked where is_there)) and limiter = %(limiter)s::text
    returning id, key
),
granted as materialized (
    select id, key from taken_anew
    union all
    select id, key from inserted
    union all
    select id, key from renewed
),
refused as materialized (
    select key, nth
    from asked
    where id not in (select id from granted)
),
noted as (
    update {schema}.limiter
    set
        asked_at = case
            when exists (select from refused) then now()
            when awaited_key in (select key from new) then null
            else asked_at
        end,
        awaited_since = case
            when not exists (select from refused)
            then case when awaited_key in (select key from new) then null else awaited_since end
            -- rule: after each turn it is that of others
            when exists (select from new) or exists (select from left_over)
                or asked_at is null or asked_at <= now() - interval '3 seconds'
            then now()
            else awaited_since
        end,
        awaited_key = case
            when not exists (select from refused)
            then case when awaited_key in (select key from new) then null else awaited_key end
            when asked_at > now() - interval '3 seconds'
                and awaited_key <> all(array(select key from new))
            then awaited_key
            else (select key from refused order by nth limit 1)
        end,
        turn_at = case when exists (select from left_over) then null else turn_at end,
        jobs_next = case
            when exists (select from left_over) then false
            else jobs_next or exists (select from new)
        end
    where name = %(limiter)s::text
        and (
            exists (select from refused)
            -- Where others wait in another process, what they have noted stays.
            or awaited_key in (select key from new)
            or (not jobs_next and exists (select from new))
        )
    returning name
)
select
    kind.has_limit,
    kind.has_key,
    exists (select from left_over) as has_turned,
    (
        select count(pg_notify(channel, ''))
        from {schema}.queue
        where queue.limiter = %(limiter)s::text and channel is not null
            and exists (select from left_over)
            and %(notifies)s::boolean
    ) as workers_told,
    granted.id::text
from kind
left join granted on true
