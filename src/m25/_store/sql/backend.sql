-- Which process of the server answers: the one that was connected to, unless a pooler is in between.
select pg_catalog.pg_backend_pid()
