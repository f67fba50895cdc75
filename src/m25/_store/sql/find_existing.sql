-- Which jobs that were to be inserted are there by their id: by their position among those asked for,
-- counted from 1, and with the columns in which each differs from what was asked. Reads only.
select
    position,
    array_remove(
        array[
            {given_differences}
        ],
        null
    ) as differs,
    {job_row}
from (
    select
        {wanted_of_each},
        position
    from unnest(
        {given_arrays}
    ) with ordinality as w (
        {wanted_columns},
        position
    )
) as wanted
join {schema}.job on job.id = wanted_id
where job.id = any(%(id)s::uuid[])
