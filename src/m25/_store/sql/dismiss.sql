-- Note that workers have ended: one that stops, and those of which nothing was heard for `silence` and
-- whose sessions are gone, or were never named. The jobs of such a worker, if there are any, have
-- leases.
-- Safe under concurrency: to end a row twice is to end it once, and a live worker that was taken for
-- ended says with its next announcement that it is there.
update {schema}.worker
set ended_at = now(), session_pids = array[]::integer[], session_starts = array[]::timestamptz[]
where ended_at is null
    and (
        id = %(id)s::uuid
        or latest_heartbeat_at < now() - %(silence)s::interval
        and not exists (
            select
            from pg_catalog.pg_stat_activity as activity
            where activity.pid = any(worker.session_pids)
                and (
                    activity.backend_start is null
                    or activity.backend_start = any(worker.session_starts)
                )
        )
    )
returning id::text
