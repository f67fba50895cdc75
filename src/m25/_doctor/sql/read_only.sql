-- Whether nothing can be written here: the server follows another one, or new sessions of this role
-- and database only read. Reads only.
select 'the server is a standby, or is being recovered' as reason
where pg_is_in_recovery()
union all
select 'default_transaction_read_only is on for this role or database'
from pg_catalog.pg_settings
where name = 'default_transaction_read_only' and reset_val = 'on' and not pg_is_in_recovery()
