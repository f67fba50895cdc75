-- Record the heartbeats of claimed jobs and renew their leases; the ids that come back are still
-- held by their claims, each with whether somebody has asked for its cancel, or for its stack.
-- Safe under concurrency: a row that somebody else has locked keeps none of the others waiting; it is
-- not written and not returned, as one that has another token or is no longer live. A reserved row's
-- lease never outlasts `reserved_timeout`, however long its executor goes on initialising. A lease
-- begins when its row is locked, and not with the transaction: of two heartbeats of one claim, one may
-- have been sent long before the other and be written after it, and must not make the lease shorter.
with {held}
update {schema}.job
set
    latest_heartbeat_at = now(),
    lease_expires_at = case
        when status = 'reserved'
        then least(
            clock_timestamp() + %(lease)s::interval, reserved_at + %(reserved_timeout)s::interval
        )
        else clock_timestamp() + %(lease)s::interval -- rule: a lease begins when it is written
    end
where id = any(array(select id from held)) -- rule: a lease is renewed by its own claim
returning
    id::text,
    cancel_requested_at is not null as to_cancel,
    stack_asked_at is not null and stack is null as is_stack_asked
