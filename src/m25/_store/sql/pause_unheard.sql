-- Pause a queue of which nobody has heard yet: it has no row, and gets one. Its workers write into it
-- what they declare, and leave the pause alone.
-- Safe under concurrency: where a worker was quicker, or somebody else who pauses it, the row is theirs
-- and is paused.
insert into {schema}.queue as queue (name, default_job_timeout, channel, paused_at, pause_reason)
values (
    %(queue_name)s::text,
    %(default_job_timeout)s::interval,
    %(channel)s::text,
    now(),
    %(reason)s::text
)
on conflict (name) do update
set
    paused_at = coalesce(queue.paused_at, now()),
    pause_reason = excluded.pause_reason,
    updated_at = now()
returning
    case when %(notifies)s::boolean then pg_notify(%(channel)s::text, %(payload)s::text)::text end
        as notified
