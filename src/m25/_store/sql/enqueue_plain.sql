-- Insert a new job that has none of the options, so that who uses none pays for none: `enqueue_one` without
-- the columns of options, and without a bound for waits.
-- Safe under concurrency: as `enqueue_one`. `channel`, if any, is notified in the same commit.
insert into {schema}.job (
    attempt,
    {required_columns}
)
values (
    1,
    {required_values}
)
on conflict do nothing -- rule: an enqueue of a plain job can be repeated
returning
    id::text,
    extract(epoch from created_at)::text as created_at,
    case when %(channel)s::text is not null then pg_notify(%(channel)s::text, '')::text end
        as notified
