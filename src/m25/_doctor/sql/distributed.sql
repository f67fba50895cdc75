-- Whether Citus has the tables of the schema in its care. Reads only; asked only where its catalog is
-- there.
select format('%%I.%%I', nspname, relname) as "table"
from pg_catalog.pg_dist_partition
join pg_catalog.pg_class on pg_class.oid = logicalrelid
join pg_catalog.pg_namespace on pg_namespace.oid = relnamespace
where nspname = %(schema)s::text
order by relname
