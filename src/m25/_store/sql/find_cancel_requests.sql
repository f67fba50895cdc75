-- Of claims, those that are still held and whose cancel somebody has asked for. Reads only.
with wanted as (
    {wanted}
)
select job.id::text, job.cancelled_by, job.cancel_reason
from {schema}.job
join wanted
    on wanted.id = job.id
    and wanted.claim_token = job.claim_token
where job.id = any(%(id)s::uuid[])
    and job.status in ('reserved', 'executing')
    and job.cancel_requested_at is not null
