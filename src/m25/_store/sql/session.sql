-- Set what the statements here are written for, where a role or a database has other defaults. Under
-- a stricter isolation level a claim that meets another's fails instead of going on to the next row.
-- With a search path that has pg_catalog behind something else, whoever can create functions there
-- would have his run in place of PostgreSQL's; everything that is not PostgreSQL's is named with its
-- schema, here and in every statement. For the session; nothing is set where nothing needs to be.
--
-- Planning a claim costs more than claiming. So each statement is planned once, whatever its
-- parameters, and every way to a row but by an index is closed: a plan that is made while the table
-- is empty must be right when it holds millions. Loops over rows are closed, too, since two batches
-- of five hundred are to be joined by hashing; where there is no other way, as in a claim, they are
-- taken all the same. Plans with what is closed look so dear that they would be compiled.
--
-- Behind a pooler, where the process that answers is another than the one that greeted us, the session
-- is shared with others, who would inherit what is set: a stranger's transactions would not be
-- serializable any more. There nothing is set; where the isolation level or the search path does not do
-- as it is, as `backend` finds out, no client opens.
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
        ),
        {planner_settings}
) as wanted (name, value, needed)
where coalesce(wanted.needed, true)
    -- rule: strangers inherit nothing
    and %(backend_pid)s::pg_catalog.int4 operator(pg_catalog.=) pg_catalog.pg_backend_pid()
