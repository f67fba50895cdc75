-- How long the statement waits for each lock that somebody holds; without `lock_wait`, as long as its
-- session does. It is set for the transaction alone, so that behind a pooler nobody inherits it, and
-- it is in force once this has been evaluated.
bounded as materialized (
    select case
        when %(lock_wait)s::text is not null
        then set_config('lock_timeout', %(lock_wait)s::text, true)
    end as lock_timeout
)
