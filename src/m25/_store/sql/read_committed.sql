-- Set the isolation level that the statements here are written for, where a role or a database has
-- another default: under a stricter one a claim that meets another's fails instead of going on to
-- the next row. For the session; nothing is set where nothing needs to be.
select set_config('default_transaction_isolation', 'read committed', false)
where current_setting('default_transaction_isolation') <> 'read committed'
