-- End the sessions that have a handler's transaction open, by the `application_name` that each has
-- set for it: those of claims whose owners are dead, as the caller knows. What they have written is
-- rolled back, and the rows that they have locked are free. A session that has just begun another
-- transaction has another name; should it do so in this very moment, it is ended in that one, which is
-- rolled back too. One that commits is left alone: it waits for nobody but the server, perhaps for a
-- standby.
-- Safe under concurrency: a session ends once. A heartbeat since the caller's look has made another
-- lease of it, and saves its session.
with suspect as (
    select *
    from unnest(
        %(name)s::text[], %(id)s::uuid[], %(claim_token)s::uuid[], %(lease_expires_at)s::text[]
    ) as s (name, id, claim_token, lease_expires_at)
),
dead as (
    select suspect.name, job.id
    from {schema}.job
    join suspect on suspect.id = job.id and suspect.claim_token = job.claim_token
    where job.id = any(%(id)s::uuid[])
        and job.status = 'executing'
        and extract(epoch from job.lease_expires_at)::text
            is not distinct from suspect.lease_expires_at -- rule: a heartbeat saves its transaction
)
select
    dead.id::text,
    case
        when pg_has_role(activity.usesysid, 'member') then pg_terminate_backend(activity.pid)
        else false
    end as is_ended
from dead
join pg_catalog.pg_stat_activity as activity
    on activity.application_name = dead.name and activity.datname = current_database()
-- rule: a commit under way is left to end
where
    -- Where tracking is off, nobody knows what it does.
    coalesce(
        not (activity.state = 'active' and activity.query like '/* m25.commit */%%'),
        true
    )
