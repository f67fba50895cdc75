-- The workers of the queues that `failure_told` has given jobs.
(
    select count(pg_notify(channel, ''))
    from {schema}.queue
    where name = any(array(select queue_name from failure_told)) and channel is not null
        and %(notifies)s::boolean
) as failure_notified
