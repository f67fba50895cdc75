-- Write down a limit of which places are held outside of jobs, as a program declares it.
-- Safe under concurrency: it is one row, written by an upsert that leaves it alone where nothing has
-- changed. Of two programs that declare it in different ways, the later one is right, as of two workers.
insert into {schema}.limiter (name, declared, is_held, held_path)
values (%(limiter)s::text, %(size)s::integer, true, %(path)s::text[])
on conflict (name) do update
set declared = excluded.declared, is_held = true, held_path = excluded.held_path
where (limiter.declared, limiter.is_held, limiter.held_path)
    is distinct from (excluded.declared, true, excluded.held_path)
returning name
