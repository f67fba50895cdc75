-- Write how far handlers have come. Safe under concurrency as a heartbeat is; the ids that come back
-- were written.
with {held}
update {schema}.job
set progress = report.progress
from unnest(%(id)s::uuid[], %(progress)s::jsonb[]) as report (id, progress)
where job.id = any(array(select id from held))
    and report.id = job.id
returning job.id::text
