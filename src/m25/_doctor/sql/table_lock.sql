-- Who has locked a table of the schema as a whole, or waits to: nothing is written meanwhile. Reads only.
select
    pg_locks.pid,
    usename as role,
    coalesce(nullif(application_name, ''), 'a program without a name') as program,
    format('%%I.%%I', nspname, relname) as "table",
    mode,
    case when granted then 'holds' else 'waits for' end as verb,
    extract(epoch from now() - xact_start)::float8 as age
from pg_catalog.pg_locks
join pg_catalog.pg_class on pg_class.oid = relation
join pg_catalog.pg_namespace on pg_namespace.oid = relnamespace
join pg_catalog.pg_stat_activity on pg_stat_activity.pid = pg_locks.pid
where locktype = 'relation'
    and pg_locks.database = (
        select oid from pg_catalog.pg_database where datname = current_database()
    )
    and nspname = %(schema)s::text
    and relkind in ('r', 'p')
    and mode in ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
    and xact_start < now() - interval '10 seconds' * %(tolerance)s::float8
order by granted desc, xact_start
limit 10
