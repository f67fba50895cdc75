-- A claim that has left jobs for want of places says when it is their turn, where others hold places
-- outside of jobs: take_places.sql leaves one to them then.
turn_taken as (
    update {schema}.limiter
    set turn_at = now() + interval '1 second'
    where name = %(limiter)s::text
        and turn_at is null
        -- `spent` writes the row.
        and rate_interval is null
        and exists (select from outside)
        and (select has_left from left_jobs)
    returning name
)
