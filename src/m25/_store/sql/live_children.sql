-- Which jobs have not ended of those that a job has started in one of its nurseries; ids are those of
-- first attempts. Reads only.
-- Safe under concurrency: it is asked under a claim, and whoever had the job before starts nothing more
-- (start_children.sql); so nothing comes in that is not seen. The next attempt of a job is inserted with
-- the end of the one before it: so one of them is there, whenever this reads.
select coalesce(original_attempt_id, id)::text as job_id
from {schema}.job
where parent_id = %(parent_id)s::uuid
    and nursery = %(nursery)s::text -- rule: a nursery ends what is its own
    and finished_at is null
    and cancelled_at is null
