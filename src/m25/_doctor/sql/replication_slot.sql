-- Replication slots that nobody reads, and that keep more than a gigabyte of the log, or dead rows of
-- this database. Reads only.
select
    slot_name as slot,
    (kept / (1024 * 1024))::int8 as megabytes,
    coalesce(xmin, catalog_xmin) is not null as keeps_rows
from pg_catalog.pg_replication_slots
cross join lateral (
    select coalesce(
        case
            when pg_is_in_recovery()
            then pg_wal_lsn_diff(pg_last_wal_replay_lsn(), restart_lsn)
            else pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)
        end,
        0
    ) as kept
) as log
where not active
    and not temporary
    and (database is null or database = current_database())
    and kept >= 1024.0 * 1024 * 1024 * %(tolerance)s::float8
order by slot_name
