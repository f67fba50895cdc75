-- Settings of the server without which a crash of the machine may lose what was committed, or the
-- whole database. Reads only.
select name as setting from pg_catalog.pg_settings
where name in ('fsync', 'full_page_writes') and setting = 'off'
order by name
