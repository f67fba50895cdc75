-- What this role may not do with the schema's tables, of what it would need to: read all of them; and,
-- if it may insert and update jobs, as workers do, the same with all others. Reads only.
with own_table as (
    select
        pg_class.oid,
        format('%%I.%%I', nspname, relname) as name,
        has_schema_privilege(pg_namespace.oid, 'usage') as is_in_use,
        has_table_privilege(pg_class.oid, 'select') as reads,
        has_table_privilege(pg_class.oid, 'insert')
            and has_table_privilege(pg_class.oid, 'update') as writes,
        relname = 'job' as is_job
    from pg_catalog.pg_class
    join pg_catalog.pg_namespace on pg_namespace.oid = relnamespace
    where nspname = %(schema)s::text and relkind in ('r', 'p')
),
missing as (
    select 'select' as privilege, name from own_table where not reads
    union all
    select 'insert, update', name from own_table
    where not writes and (select bool_or(writes) from own_table where is_job)
    union all
    select distinct 'usage on schema', quote_ident(%(schema)s::text)
    from own_table
    where not is_in_use
)
select
    current_user as role,
    privilege,
    string_agg(name, ', ' order by name) as tables,
    case privilege
        when 'usage on schema' then privilege || ' ' || min(name)
        else privilege || ' on ' || string_agg(name, ', ' order by name)
    end as what
from missing
group by privilege
order by privilege
