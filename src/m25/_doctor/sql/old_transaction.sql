-- Transactions of this database that have worked for long: what was updated or deleted since they
-- began cannot be vacuumed, and each claim walks over it. A vacuum itself keeps nothing; those that
-- are idle have a check of their own. Reads only.
select
    pid,
    usename as role,
    coalesce(nullif(application_name, ''), 'a program without a name') as program,
    extract(epoch from now() - xact_start)::float8 as age
from pg_catalog.pg_stat_activity
where datname = current_database()
    and pid <> pg_backend_pid()
    and backend_type <> 'autovacuum worker'
    and (backend_xid is not null or backend_xmin is not null)
    and state not like 'idle in transaction%%'
    and xact_start < now() - interval '15 minutes' * %(tolerance)s::float8
order by xact_start
limit 10
