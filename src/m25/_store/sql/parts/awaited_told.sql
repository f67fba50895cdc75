-- Whoever waits for a place outside of a job is told, where one is left to it and there is room.
(
    select count(pg_notify(%(room_channel)s::text, %(limiter)s::text))
    from awaited
    cross join size
    join taken on taken.key = awaited.key
    where taken.number <= size.size and %(notifies)s::boolean
) as awaited_told
