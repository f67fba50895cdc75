-- The claims that a call is about.
select * from unnest(%(id)s::uuid[], %(claim_token)s::uuid[]) as w (id, claim_token)
