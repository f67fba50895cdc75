-- Those that begin now have spent as many tokens.
spent as (
    update {schema}.limiter
    set next_start_at = rate.next_start_at
        + make_interval(secs => (select count(*) from due) * rate.seconds) -- rule: a token is spent once
    from rate
    where limiter.name = %(limiter)s::text and (select count(*) from due) > 0
    returning limiter.name
)
