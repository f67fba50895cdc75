-- Forget workers: one that stops, and those of which nothing was heard for `silence` and whose
-- sessions are gone, or were never named. The jobs of such a worker, if there are any, have leases.
-- Safe under concurrency: deleting a row twice is deleting it once, and a live worker that was
-- forgotten says so again with its next heartbeat.
delete from {schema}.worker
where id = %(id)s::uuid
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
returning id::text
