-- Of the claims that a call is about, those that are still held: the row is live, and carries the
-- claim's token. They are locked in id order; a row that somebody else has locked, as anybody may for as
-- long as they like, is left out, and keeps none of the others waiting: find_locked.sql tells of it.
wanted as (
    {wanted}
),
held as materialized (
    select job.id
    from {schema}.job
    join wanted
        on wanted.id = job.id
        and wanted.claim_token = job.claim_token -- rule: a claim's writes name its token
    where job.id = any(%(id)s::uuid[])
        and job.status in ('reserved', 'executing')
    order by job.id
    for no key update of job skip locked -- rule: a locked row costs its own job alone
)
