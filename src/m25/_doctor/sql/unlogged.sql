-- Tables of the schema that a crash of the server empties, and that a standby does not have. Reads only.
select format('%%I.%%I', nspname, relname) as "table"
from pg_catalog.pg_class
join pg_catalog.pg_namespace on pg_namespace.oid = relnamespace
where nspname = %(schema)s::text and relkind in ('r', 'p') and relpersistence = 'u'
order by relname
