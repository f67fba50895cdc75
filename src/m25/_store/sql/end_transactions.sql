-- End the sessions that have a handler's transaction open, by the `application_name` that each has
-- set for it: those of claims whose owners are dead, as the caller knows. What they have written is
-- rolled back, and the rows that they have locked are free. A session that has just begun another
-- transaction has another name; should it do so in this very moment, it is ended in that one, which is
-- rolled back too.
-- Safe under concurrency: a session ends once, and its worker can commit nothing of that claim any
-- more, whoever ends the attempt.
select
    activity.application_name,
    case
        when pg_has_role(activity.usesysid, 'member') then pg_terminate_backend(activity.pid)
        else false
    end as is_ended
from pg_catalog.pg_stat_activity as activity
where activity.application_name = any(%(name)s::text[])
    and activity.datname = current_database()
