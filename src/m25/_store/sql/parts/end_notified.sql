-- The end of a chain is notified to whoever waits for it, unless the database could not take that: see
-- `_repeat_in_silence` in postgres.py.
case
    when waiter is not null and %(notifies)s::boolean
    -- rule: the end of a chain is notified
    then pg_notify(waiter, coalesce(original_attempt_id, id)::text)::text
end
