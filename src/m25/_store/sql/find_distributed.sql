-- The tables of the schema that Citus has in its care: most statements here are refused on such. Asked
-- only where the catalog of Citus is there.
-- Safe under concurrency: reads only.
select pg_catalog.format('%%I.%%I', nspname, relname) as "table"
from pg_catalog.pg_dist_partition
join pg_catalog.pg_class on pg_class.oid operator(pg_catalog.=) logicalrelid
join pg_catalog.pg_namespace on pg_namespace.oid operator(pg_catalog.=) relnamespace
where nspname operator(pg_catalog.=) %(schema)s::pg_catalog.text
order by relname
