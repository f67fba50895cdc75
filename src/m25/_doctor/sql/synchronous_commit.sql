-- Whether sessions of this role and database do not wait until a commit is on disk. Reads only.
select name as setting from pg_catalog.pg_settings
where name = 'synchronous_commit' and reset_val = 'off'
