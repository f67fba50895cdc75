-- Say that schedules are still declared as they are: where nobody has said so for some time.
-- Safe under concurrency: one update of rows that are locked before. A row that somebody else has
-- locked is left out, and renewed another time.
with known as materialized (
    select schedule.name
    from {schema}.schedule
    join unnest(%(name)s::text[], %(revision)s::integer[]) as k (name, revision)
        on k.name = schedule.name
        and k.revision = schedule.revision -- rule: none but who declared a schedule like this renews it
    where schedule.name = any(%(name)s::text[])
    for no key update of schedule skip locked
)
update {schema}.schedule
set declared_at = now()
from known
where schedule.name = known.name and schedule.name = any(%(name)s::text[])
returning schedule.name
