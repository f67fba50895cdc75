-- Of the indexes that the migrations make, those that are not there, or are there and not used, since
-- whoever began to build them did not come to the end. Reads only.
select
    wanted.name,
    case when pg_index.indexrelid is null then 'is not there' else 'is not valid' end as problem,
    case
        when pg_index.indexrelid is null then wanted.definition
        else format(
            'reindex index concurrently %%I.%%I', %(schema)s::text, wanted.name
        )
    end as remedy
from unnest(%(names)s::text[], %(definitions)s::text[])
    as wanted (name, definition)
left join pg_catalog.pg_namespace on nspname = %(schema)s::text
left join pg_catalog.pg_class on relnamespace = pg_namespace.oid and relname = wanted.name
left join pg_catalog.pg_index on indexrelid = pg_class.oid
where pg_index.indexrelid is null or not indisvalid or not indisready
order by wanted.name
