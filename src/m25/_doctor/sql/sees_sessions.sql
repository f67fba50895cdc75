-- Whether this role sees what sessions of others do. Reads only.
select current_user as role
where not (
    pg_has_role('pg_read_all_stats', 'usage')
    or (select rolsuper from pg_catalog.pg_roles where rolname = current_user)
)
