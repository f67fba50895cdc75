-- A job that a tree's cancel has not reached yet. That of a worker of the original m25 cannot be asked
-- for.
finished_at is null
and cancelled_at is null
and cancel_requested_at is null -- rule: a tree's cancel is done once
and (reserved_at is null or claim_token is not null)
