-- What a claim needs of the rows that it has written. Most columns have nothing in most jobs, and to read
-- them one by one takes a fifth of a claim. So they come as one array, and only of a job that has
-- something in any of them: claimed_rows.py makes whole rows again. A job without has never been
-- scheduled, and so was created at its `run_at`.
{always_claimed}, run_at,
case
    when num_nonnulls(
            {rarely_not_null}
        ) > 0
        or {rarely_not_default}
    then array[
        {rarely_claimed_as_text}
    ]
end as rest
