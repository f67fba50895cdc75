-- Timeouts of this role or database, in milliseconds, that cut m25's own work short: statements under
-- load, and the connection that listens, which is idle for up to 30 s. Reads only.
select
    name as setting,
    reset_val::int8 as milliseconds,
    case name
        when 'statement_timeout' then 'claims and results fail while the server is busy'
        else 'connections that wait for work are closed again and again'
    end as consequence,
    case name when 'statement_timeout' then '10 s' else '60 s' end as least
from pg_catalog.pg_settings
where name in ('statement_timeout', 'idle_session_timeout')
    and reset_val::int8 > 0
    and reset_val::int8
        < case name when 'statement_timeout' then 10000 else 60000 end * %(tolerance)s::float8
