-- The retry rule, as `has_next_attempt` in _lifecycle.py has it: an attempt lost with its process is
-- followed by another up to `allowed_losses` times in a chain; any other failure while
-- attempt - losses < max_attempts.
case
    when failure_reason is null then false
    when failure_reason = 'heartbeat_timeout'
    then losses <= allowed_losses -- rule: a lost attempt is followed by the next
    else attempt::bigint - losses < max_attempts -- rule: no attempt too many
end
