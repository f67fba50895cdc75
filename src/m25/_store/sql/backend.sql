-- Which process of the server answers: the one that was connected to, unless a pooler is in between. And
-- what its session makes of text and of arrays, what the server says that it is, and whether Citus is
-- there.
select
    pg_catalog.pg_backend_pid(),
    pg_catalog.current_setting('client_encoding'),
    pg_catalog.current_setting('array_nulls'),
    pg_catalog.version(),
    pg_catalog.to_regclass('pg_catalog.pg_dist_partition') is not null
