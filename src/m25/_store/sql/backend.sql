-- Which process of the server answers: the one that was connected to, unless a pooler is in between. And
-- what its session makes of text and of arrays, what the server says that it is, whether Citus is there,
-- and which setting of the session is such as m25's statements are not written for: see `session`.
select
    pg_catalog.pg_backend_pid(),
    pg_catalog.current_setting('client_encoding'),
    pg_catalog.current_setting('array_nulls'),
    pg_catalog.version(),
    pg_catalog.to_regclass('pg_catalog.pg_dist_partition') is not null,
    case
        when pg_catalog.current_setting('default_transaction_isolation')
            operator(pg_catalog.<>) 'read committed'
            then 'default_transaction_isolation'
        when pg_catalog.current_setting('search_path') operator(pg_catalog.~) ',\s*"?pg_catalog'
            then 'search_path'
    end
