-- Whether vacuum is far behind: there are many dead rows, more than a fifth of the live ones, and none
-- has come for a quarter of an hour, though autovacuum looks each minute. A table that is younger than
-- that is left alone. Reads only.
select
    format('%%I.%%I', schemaname, relname) as "table",
    n_dead_tup as dead,
    n_live_tup as live,
    extract(epoch from now() - latest)::float8 as age
from pg_catalog.pg_stat_user_tables
cross join lateral (
    select greatest(
        last_vacuum, last_autovacuum, (select min(created_at) from {schema}.version)
    ) as latest
) as vacuum
where schemaname = %(schema)s::text
    and n_dead_tup > 10000 * %(tolerance)s::float8
    and n_dead_tup > n_live_tup * 0.2
    and latest < now() - interval '15 minutes' * %(tolerance)s::float8
order by n_dead_tup desc
