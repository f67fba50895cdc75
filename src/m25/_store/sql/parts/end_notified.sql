-- The end of a chain is notified to whoever waits for it, unless the database could not take that: see
-- `_repeat_in_silence` in postgres.py. A name that no channel can have, which m25 writes nowhere, would fail
-- the statement for all of its jobs.
case
    when %(notifies)s::boolean
        and waiter ~ '^m25_[0-9a-z_]{1,59}$' -- rule: a waiter that is no channel harms no other job
    -- rule: the end of a chain is notified
    then pg_notify(waiter, coalesce(original_attempt_id, id)::text)::text
end
