-- Set what the statements here are written for, where a role or a database has other defaults. Under
-- a stricter isolation level a claim that meets another's fails instead of going on to the next row.
-- With a search path that has pg_catalog behind something else, whoever can create functions there
-- would have his run in place of PostgreSQL's; everything that is not PostgreSQL's is named with its
-- schema, here and in every statement. For the session; nothing is set where nothing needs to be.
select pg_catalog.set_config(wanted.name, wanted.value, false)
from (
    values
        (
            'default_transaction_isolation',
            'read committed',
            pg_catalog.current_setting('default_transaction_isolation')
                operator(pg_catalog.<>) 'read committed'
        ),
        (
            'search_path',
            'pg_catalog',
            pg_catalog.current_setting('search_path') operator(pg_catalog.~) ',\s*"?pg_catalog'
        )
) as wanted (name, value, needed)
where wanted.needed
