-- What claim.sql and claim_after.sql do with the rows that are due, and what they return of them.
-- Ids go through an array, so that the planner finds the rows by primary key whatever it believes
-- about their number.
claimed as (
    update {schema}.job
    set
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
    where id = any(array(select id from due))
    returning
        {claimed_columns}
)
select
    {claimed_row}
from claimed
order by claimed.priority, claimed.run_at, claimed.id
