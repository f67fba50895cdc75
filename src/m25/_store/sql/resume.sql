-- Resume a queue: its jobs are claimed again. Its workers are told, and look at once.
-- Safe under concurrency: it is one row, and to resume it twice is to resume it once.
update {schema}.queue
set paused_at = null, pause_reason = null, updated_at = now()
where name = %(queue_name)s::text and paused_at is not null
returning
    case when %(notifies)s::boolean then pg_notify(%(channel)s::text, %(payload)s::text)::text end
        as notified
