-- Tables of the schema of which policies may hide rows from this role: jobs that are hidden wait for
-- ever, and nobody says so. Reads only.
select format('%%I.%%I', nspname, relname) as "table", current_user as role
from pg_catalog.pg_class
join pg_catalog.pg_namespace on pg_namespace.oid = relnamespace
where nspname = %(schema)s::text
    and relkind in ('r', 'p')
    and row_security_active(pg_class.oid)
order by relname
