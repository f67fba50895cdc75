-- The end of a chain is notified to whoever waits for it.
case
    when waiter is not null
    then pg_notify(waiter, coalesce(original_attempt_id, id)::text)::text
end as notified
