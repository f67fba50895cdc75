-- The steps that a call is about, each with the claim of the attempt that has done it.
select *
from unnest(
    %(id)s::uuid[],
    %(claim_token)s::uuid[],
    %(job_id)s::uuid[],
    %(kind)s::text[],
    %(name)s::text[],
    %(key)s::text[],
    %(fingerprint)s::text[],
    %(until_in)s::interval[],
    %(output)s::jsonb[]
) with ordinality as w (
    id, claim_token, job_id, kind, name, key, fingerprint, until_in, output, number
)
