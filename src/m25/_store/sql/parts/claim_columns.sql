-- What every claim writes.
reserved_at = now(),
claim_token = %(claim_token)s::uuid,
started_at = case when %(start)s::boolean then now() end,
deadline = case
    when %(start)s::boolean
    then {deadline}
end,
lease_expires_at = now() + %(lease)s::interval,
-- rule: a job that was claimed has begun
has_begun = case when has_begun is not null then true end
