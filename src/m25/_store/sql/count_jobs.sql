-- Count jobs by what they are, in a part of a walk over the table, as find_jobs.sql finds them. There
-- always is one row. Reads only.
with {looked_at},
counted as materialized (
    select status, count(*) as number from found group by status
)
{counted_in_part}
