-- version: 2026-11-28T12:00:00Z
-- works from: 2026-11-25T00:00:00Z
-- Queues that are fair between keys: each key's jobs wait in a lane of their own.

alter table {schema}.queue
    -- Where in the input of its jobs the key is whose lane they wait in.
    add column lane_path text[];

-- Null but for a job of a queue that is fair between keys. It costs a row nothing.
alter table {schema}.job
    add column lane text;

-- Beside the index that has all pending jobs: to go from lane to lane, whatever their lengths.
create index job_lane_idx on {schema}.job (queue_name, lane, priority, run_at, id)
    where lane is not null and status = 'pending';
