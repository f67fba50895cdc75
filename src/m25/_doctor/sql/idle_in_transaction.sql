-- Sessions of this database that have a transaction open and send nothing: they hold their locks, and
-- keep dead rows. Reads only.
select
    pid,
    usename as role,
    coalesce(nullif(application_name, ''), 'a program without a name') as program,
    extract(epoch from now() - state_change)::float8 as age
from pg_catalog.pg_stat_activity
where datname = current_database()
    and pid <> pg_backend_pid()
    and state like 'idle in transaction%%'
    and state_change < now() - interval '2 minutes' * %(tolerance)s::float8
order by state_change
limit 10
