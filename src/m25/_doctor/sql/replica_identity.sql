-- Tables of the schema that are published for replication, and whose rows cannot be identified there:
-- PostgreSQL refuses to update and delete them. From version 18 on it does so, too, where all columns
-- identify a row and some are generated and not published. Reads only.
select distinct
    format('%%I.%%I', nspname, relname) as "table",
    pg_publication.pubname as publication,
    case relreplident when 'f' then 'full' else 'nothing' end as identity
from pg_catalog.pg_publication_tables as published
join pg_catalog.pg_publication on pg_publication.pubname = published.pubname
join pg_catalog.pg_namespace on nspname = published.schemaname
join pg_catalog.pg_class on relnamespace = pg_namespace.oid and relname = published.tablename
where published.schemaname = %(schema)s::text
    and (pubupdate or pubdelete)
    and (
        relreplident = 'n'
        or (
            relreplident = 'f'
            and current_setting('server_version_num')::int4 >= 180000
            and to_jsonb(pg_publication) ->> 'pubgencols' is distinct from 's'
            and exists (
                select from pg_catalog.pg_attribute
                where attrelid = pg_class.oid and attgenerated = 's' and not attisdropped
            )
        )
    )
order by 1, 2
