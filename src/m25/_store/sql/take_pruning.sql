-- Take the turn to look for old jobs of a queue, if nobody has had it within `gap`; a row comes back if so.
-- Safe under concurrency: the row is checked again once locked, so one of several has the turn.
update {schema}.queue
set pruned_at = now()
where name = %(queue_name)s::text
    and (pruned_at is null or pruned_at < now() - %(gap)s::interval)
returning name
