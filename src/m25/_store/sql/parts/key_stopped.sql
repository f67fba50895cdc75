-- The key of a chain that has failed stands still, if its queue holds what is behind such a one. It is written
-- with the chain's end: so at no moment the job behind it can be claimed.
key_stopped as (
    insert into {schema}.stopped_key (job_id, queue_name, order_key, order_number)
    select
        coalesce(failed.original_attempt_id, failed.id),
        failed.queue_name,
        failed.order_key,
        failed.order_number
    from failed
    join {schema}.queue on queue.name = failed.queue_name
    where failed.order_number is not null
        and queue.holds_failed
        and failed.parent_id is null -- rule: a child's failure is its parent's affair
        and failed.cancel_requested_at is null -- rule: what was cancelled holds nothing
        and (failed.is_last or not {has_next_attempt}) -- rule: what has failed for good holds its key
    on conflict do nothing
    returning job_id
)
