-- What a claim does with rows that are due, or that were held up: these are as they were before that.
claimed as (
    update {schema}.job
    set
        {claim_columns},
        scheduled_at = case
            when was_due_at is null or scheduled_at < timestamptz '8000-01-01 00:00:00+00'
            then scheduled_at
            else nullif(was_due_at, created_at)
        end,
        limit_key = null,
        was_due_at = null
    where id = any(array(select id from due))
    returning
        {claimed_columns}
)
