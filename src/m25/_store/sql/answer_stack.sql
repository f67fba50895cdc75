-- Answer where the handler of a claimed job waits, if somebody has asked and has no answer yet.
-- Safe under concurrency: as a heartbeat is. What a notification made one believe is checked here.
with {held}
update {schema}.job
set stack = %(stack)s::text
where id = any(array(select id from held))
    and stack_asked_at is not null -- rule: a stack is for those who have asked
    and stack is null
returning id::text
