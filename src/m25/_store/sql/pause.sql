-- Pause a queue: claims look at this row, and take no job from then on. Its workers are told, so that
-- they say so, and need not find out by claiming.
-- Safe under concurrency: it is one row, and of two who pause it the first counts, but for the reason,
-- which is the last one's.
update {schema}.queue
set
    paused_at = coalesce(paused_at, now()), -- rule: a pause goes on from when it began
    pause_reason = %(reason)s::text,
    updated_at = now()
where name = %(queue_name)s::text
returning
    case when %(notifies)s::boolean then pg_notify(%(channel)s::text, %(payload)s::text)::text end
        as notified
