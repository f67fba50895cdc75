-- What a claim does with the rows that are due, and what it returns of them.
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
