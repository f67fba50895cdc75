-- The rows that outcomes are written to, locked in id order.
held as materialized (
    select job.id
    from {schema}.job
    join outcome
        on outcome.id = job.id
        and outcome.claim_token = job.claim_token -- rule: an outcome names its claim's token
    where job.id = any(%(id)s::uuid[])
        and job.status = 'executing' -- rule: an attempt ends once
    order by job.id
    for no key update of job skip locked -- rule: a locked row keeps no other result waiting
)
