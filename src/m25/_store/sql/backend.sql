-- Which process of the server answers: the one that was connected to, unless a pooler is in between. And
-- what its session makes of text and of arrays.
select
    pg_catalog.pg_backend_pid(),
    pg_catalog.current_setting('client_encoding'),
    pg_catalog.current_setting('array_nulls')
