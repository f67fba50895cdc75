-- version: 2026-11-28T14:00:00Z
-- works from: 2026-11-25T00:00:00Z
-- Queues whose jobs of one key run one after another, in the order in which they were enqueued.

alter table {schema}.queue
    -- Where in the input of its jobs the key is.
    add column order_path text[],
    -- Whether a job that has failed for good holds those behind it.
    add column holds_failed boolean;

-- Both are null but for a job of such a queue. They cost a row nothing. All attempts of a job have the same.
alter table {schema}.job
    add column order_key text,
    -- Its place: the lower comes first.
    add column order_number bigint;

-- What stands in the way of the jobs behind it: of each key the first is its head.
create index job_order_idx on {schema}.job (queue_name, order_key, order_number)
    where order_number is not null and finished_at is null and cancelled_at is null;

create sequence {schema}.order_number;

-- The next place. Whoever may put jobs need not have rights to the sequence.
create function {schema}.next_order_number() returns bigint
    language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
    return nextval($name${schema}.order_number$name$);
end
$$;

-- Keys that stand still: a job of theirs has failed for good, and those behind it wait until somebody
-- has retried or deleted it.
create table {schema}.stopped_key (
    -- The id of the job's first attempt.
    job_id uuid not null primary key,
    queue_name text not null,
    order_key text not null,
    -- The job's. What has a lower one does not wait for it.
    order_number bigint not null,
    stopped_at timestamptz not null default now()
);

create index stopped_key_idx on {schema}.stopped_key (queue_name, order_key, order_number);

-- A key goes on once the job is deleted for which it stands still. As with steps, whoever may delete jobs
-- need not have rights to the table.
create function {schema}.let_keys_of_deleted_jobs_go_on() returns trigger
    language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
    delete from {schema}.stopped_key
    where stopped_key.job_id in (select coalesce(original_attempt_id, id) from gone)
        and not exists (
            select
            from {schema}.job
            where job.id = stopped_key.job_id or job.original_attempt_id = stopped_key.job_id
        );
    return null;
end
$$;

revoke all on function {schema}.let_keys_of_deleted_jobs_go_on() from public;

create trigger job_deleted_order
    after delete on {schema}.job
    referencing old table as gone
    for each statement
    execute function {schema}.let_keys_of_deleted_jobs_go_on();
