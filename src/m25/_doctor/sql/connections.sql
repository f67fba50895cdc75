-- Whether the connections that the server, this database or this role may have are nearly used up.
-- Reads only.
with client as (
    select datname, usename from pg_catalog.pg_stat_activity where backend_type = 'client backend'
),
used as (
    select
        'the server' as place,
        'max_connections' as setting,
        (select count(*) from client) as used,
        current_setting('max_connections')::int8
            - current_setting('superuser_reserved_connections')::int8
            - coalesce(
                current_setting('reserved_connections', true), '0'
            )::int8 as most
    union all
    select
        format('database %%I', datname),
        'its connection limit',
        (select count(*) from client where client.datname = database.datname),
        datconnlimit
    from pg_catalog.pg_database as database
    where datname = current_database() and datconnlimit >= 0
    union all
    select
        format('role %%I', rolname),
        'its connection limit',
        (select count(*) from client where usename = rolname),
        rolconnlimit
    from pg_catalog.pg_roles
    where rolname = current_user and rolconnlimit >= 0
)
select place, setting, used, most from used
where used >= most * 0.9 * %(tolerance)s::float8
