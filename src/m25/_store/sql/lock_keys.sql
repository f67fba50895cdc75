-- Lock keys of queues, each by its row, until the transaction ends; and say which job was the last to take
-- each. A key that nobody has had has a row from now on.
-- Safe under concurrency: who puts a job of a key has locked that key's row before anything else is looked
-- at, so the statements that follow see whatever was put before: what an open transaction has put is
-- waited for. Rows are locked in order, so that two batches with the same keys cannot deadlock.
with {bounded},
wanted as (
    select *
    from unnest(%(queue_name)s::text[], %(key)s::text[]) as w (queue_name, key)
)
insert into {schema}.held_key (queue_name, key)
select queue_name, key
from bounded, wanted
order by queue_name, key
-- rule: a key is locked before anybody takes it
on conflict (queue_name, key) do update set job_id = held_key.job_id
returning queue_name, key, job_id::text
