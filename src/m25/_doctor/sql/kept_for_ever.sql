-- Whether the job table has grown large, and no queue deletes what ended long ago. Reads only: the
-- numbers are the planner's.
select
    format('%%I.%%I', nspname, relname) as "table",
    reltuples::int8 as rows,
    pg_size_pretty(pg_total_relation_size(pg_class.oid)) as size
from pg_catalog.pg_class
join pg_catalog.pg_namespace on pg_namespace.oid = relnamespace
where nspname = %(schema)s::text
    and relname = 'job'
    and reltuples > 10000000 * %(tolerance)s::float8
    and not exists (select from {schema}.queue where pruned_at is not null)
