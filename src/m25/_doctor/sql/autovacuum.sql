-- Where autovacuum is switched off: on the server, or for a table of the schema. Reads only.
select
    'on this server (' || name || ' = off)' as place,
    'alter system set ' || name || ' = on; select pg_reload_conf()' as remedy
from pg_catalog.pg_settings
where name in ('autovacuum', 'track_counts') and setting = 'off'
union all
select
    format('for table %%I.%%I', nspname, relname),
    format('alter table %%I.%%I reset (autovacuum_enabled)', nspname, relname)
from pg_catalog.pg_class
join pg_catalog.pg_namespace on pg_namespace.oid = relnamespace
cross join lateral pg_options_to_table(reloptions)
where nspname = %(schema)s::text
    and option_name = 'autovacuum_enabled'
    and not option_value::bool
order by 1
