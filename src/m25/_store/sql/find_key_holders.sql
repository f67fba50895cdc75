-- Which job holds each unique key. Reads only.
select unique_key, id::text
from {schema}.job
where unique_key = any(%(unique_key)s::text[])
    and unique_key is not null
    and status not in ('failed', 'cancelled')
