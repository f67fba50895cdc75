-- Those are told who may have waited for a place that is empty by now: the workers of the queues that
-- have its limit, and all who wait outside of jobs. `emptied` says of which limits.
(
    select count(pg_notify(channel, ''))
    from {schema}.queue
    where limiter in (select limiter from emptied)
        and channel is not null
        and %(notifies)s::boolean
) as workers_told,
(
    select count(pg_notify(%(room_channel)s::text, limiter))
    from emptied
    where %(notifies)s::boolean
) as waiters_told
