-- In how many seconds the next may begin by the rate, if that is later than now.
(
    select
        greatest(
            extract(
                epoch from rate.next_start_at
                    + make_interval(secs => least((select count(*) from due) * rate.seconds, 31557600000))
                    - rate.at
            ),
            0
        )::float8
    from rate
    where (select count(*) from due) >= (select number from tokens)
) as room_in
