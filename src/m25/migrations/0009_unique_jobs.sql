-- version: 2026-11-28T03:00:00Z
-- works from: 2026-11-25T00:00:00Z
-- Keys of which a queue has one job at a time, and jobs that run after another one.

-- Both may be null, and a null costs a row nothing.
alter table {schema}.job
    -- Of a job that was put with a key: whether it has been claimed, once or more often. Until then a
    -- later job of its key may take its place.
    add column has_begun boolean,
    -- The job after whose end, that of its last attempt, this one may be claimed: the id of that one's
    -- first attempt.
    add column follows uuid;

-- Which job was the last to take a key. Whether it still holds the key is not written here: its own row
-- says so. So no claim and no outcome has anything to do with keys.
create table {schema}.held_key (
    queue_name text not null,
    key text not null,
    -- The id of the job's first attempt; null while nobody has taken the key.
    job_id uuid,
    -- For how long the job holds it: pending, live, ever, or within (until a time).
    holding text,
    until timestamptz,
    primary key (queue_name, key)
);

create index held_key_job_id_idx on {schema}.held_key (job_id);

-- What deleted jobs held goes with them, but for keys that are held whatever becomes of the job. One that
-- somebody is about to take is left: it is taken with the key's row as it is. As with steps, whoever may
-- delete jobs need not have rights to the table.
create function {schema}.free_keys_of_deleted_jobs() returns trigger
    language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
    delete from {schema}.held_key
    where (queue_name, key) in (
        select held.queue_name, held.key
        from {schema}.held_key as held
        where held.job_id in (select coalesce(original_attempt_id, id) from gone)
            and held.holding <> 'ever'
            and (held.until is null or held.until < now())
            and not exists (
                select
                from {schema}.job
                where job.id = held.job_id or job.original_attempt_id = held.job_id
            )
        for update skip locked
    );
    return null;
end
$$;

revoke all on function {schema}.free_keys_of_deleted_jobs() from public;

create trigger job_deleted_keys
    after delete on {schema}.job
    referencing old table as gone
    for each statement
    execute function {schema}.free_keys_of_deleted_jobs();
