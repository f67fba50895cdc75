-- Those that begin now have spent as many tokens.
spent as (
    update {schema}.limiter
    set next_start_at = rate.next_start_at
        -- rule: a token is spent once
        + make_interval(secs => least((select count(*) from due) * rate.seconds, 31557600000))
    from rate
    where limiter.name = %(limiter)s::text and (select count(*) from due) > 0
    returning limiter.name
)
