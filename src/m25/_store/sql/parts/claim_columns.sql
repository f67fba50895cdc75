-- What every claim writes.
reserved_at = now(),
claim_token = %(claim_token)s::uuid,
started_at = case when %(start)s::boolean then now() end,
deadline = case
    when %(start)s::boolean
    then {deadline}
end,
lease_expires_at = now() + %(lease)s::interval
