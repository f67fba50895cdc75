-- Transactions that somebody has prepared, and neither committed nor rolled back: they hold their
-- locks, and keep dead rows, for ever. Reads only.
select
    gid,
    owner,
    extract(epoch from now() - prepared)::float8 as age
from pg_catalog.pg_prepared_xacts
where database = current_database()
    and prepared < now() - interval '15 minutes' * %(tolerance)s::float8
order by prepared
limit 10
