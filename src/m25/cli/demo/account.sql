-- Count what became of the demo's jobs. Every attempt is a row; its `meta` holds the name of the act
-- that enqueued the job, and later attempts of the same job inherit it.
select
    coalesce(meta ->> 'act', 'nobody asked') as act,
    status || coalesce(' (' || failure_reason || ')', '') as what,
    count(*) as found
from {schema}.job
group by 1, 2

union all
select 'files', 'lines counted', sum((output ->> 'lines')::bigint)
from {schema}.job where queue_name = 'sources'

union all
select 'files', 'functions counted', sum((output ->> 'functions')::bigint)
from {schema}.job where queue_name = 'sources'

union all
select 'files', 'classes counted', sum((output ->> 'classes')::bigint)
from {schema}.job where queue_name = 'sources'

union all
select 'all', 'started too early', count(*)
from {schema}.job where started_at < scheduled_at

union all
select 'all', 'retried too early', count(*)
from {schema}.job as attempt
join {schema}.job as previous on previous.id = attempt.previous_attempt_id
where attempt.started_at < previous.finished_at + previous.retry_delay

union all
select 'all', 'succeeded twice', count(*)
from (
    select coalesce(original_attempt_id, id)
    from {schema}.job
    where status = 'succeeded'
    group by 1
    having count(*) > 1
) as twice
