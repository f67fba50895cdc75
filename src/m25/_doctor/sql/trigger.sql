-- Of the triggers that the migrations make, those that are not there, or are switched off. Reads only.
select
    wanted.name,
    format('%%I.%%I', nspname, wanted.relation) as "table",
    case when tgname is null then 'is not there' else 'is switched off' end as problem,
    case
        when tgname is null then wanted.definition
        else format(
            'alter table %%I.%%I enable trigger %%I', nspname, wanted.relation, wanted.name
        )
    end as remedy
from unnest(
    %(names)s::text[],
    %(relations)s::text[],
    %(definitions)s::text[]
) as wanted (name, relation, definition)
join pg_catalog.pg_namespace on nspname = %(schema)s::text
left join pg_catalog.pg_class on relnamespace = pg_namespace.oid and relname = wanted.relation
left join pg_catalog.pg_trigger on tgrelid = pg_class.oid and tgname = wanted.name
where tgname is null or tgenabled not in ('O', 'A')
order by wanted.name
