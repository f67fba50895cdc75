-- Have the ends of chains notified: write into the latest attempt of each on which channel, and read it.
-- The next attempt has it from there. Where another process waits, too, it is the channel of all.
-- Safe under concurrency: rows are locked in id order, and one that somebody has locked is left out: it
-- keeps none of the others waiting. A row that has ended by the time it is locked is left alone. In
-- both cases it says that it is not watched, and the caller asks again.
with {latest},
unwatched as materialized (
    select id
    from {schema}.job
    where id = any(array(select latest_id from latest))
        and finished_at is null
        and cancelled_at is null
        and (waiter is null or waiter not in (%(waiter)s::text, %(all_waiters)s::text))
    order by id
    for no key update skip locked
),
watched as (
    update {schema}.job
    set waiter = case when waiter is null then %(waiter)s::text else %(all_waiters)s::text end
    where id = any(array(select id from unwatched))
    returning id as watched_id
)
select
    latest.asked::text,
    watched_id is not null
        or job.waiter in (%(waiter)s::text, %(all_waiters)s::text) as is_watched,
    {job_row}
from latest
join {schema}.job on job.id = latest.latest_id
left join watched on watched.watched_id = latest.latest_id
where job.id = any(array(select latest_id from latest))
