-- What claim.sql and claim_after.sql do with the rows that are due, and what they return of them.
-- Ids go through an array, so that the planner finds the rows by primary key whatever it believes
-- about their number.
claimed as (
    update {schema}.job
    set
        {claim_columns}
    where id = any(array(select id from due))
    returning
        {claimed_columns}
)
select
    {claimed_row}
from claimed
order by claimed.priority, claimed.run_at, claimed.id
