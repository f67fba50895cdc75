-- Tell the workers that listen on these channels that something may be there to do. A hint: nothing
-- is believed from it, and nothing is lost without it.
select pg_notify(channel, '')
from unnest(%(channels)s::text[]) as channel
