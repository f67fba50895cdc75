-- Whether the server's queue of notifications fills: once it is full, no transaction that notifies can
-- commit. It is emptied once the slowest of those that listen has read it. Reads only.
select (100 * usage)::int4 as percent
from pg_notification_queue_usage() as usage
where not pg_is_in_recovery() and usage > 0.25 * %(tolerance)s::float8
