-- Set what the statements here are written for (session.sql says why) for the rest of a transaction in
-- which a handler has written: it may have set anything, and been anybody. Tells whether it is still the
-- transaction that was begun for the handler. It comes last but for m25's own writes and the commit, so
-- that nothing of a user's runs under these settings.
-- Safe under concurrency: of the own transaction alone.
select
    extract(epoch from pg_catalog.now())::pg_catalog.text
        operator(pg_catalog.=) %(began)s::pg_catalog.text as is_ours,
    -- An aggregate reads all rows.
    pg_catalog.count(pg_catalog.set_config(wanted.name, wanted.value, true))
from (
    values
        -- rule: m25 writes as its own role
        ('role', %(role)s::pg_catalog.text, null),
        (
            'search_path',
            'pg_catalog',
            pg_catalog.current_setting('search_path') operator(pg_catalog.~) ',\s*"?pg_catalog'
        ),
        ('statement_timeout', '0', null),
        ('array_nulls', 'on', null),
        {planner_settings}
) as wanted (name, value, needed)
where coalesce(wanted.needed, true)
