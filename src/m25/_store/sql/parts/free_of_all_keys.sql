-- How many jobs may begin now of a queue whose claims know keys, but whose limit, if it has one, does not.
free as materialized (
    select
        least(
            %(limit)s::bigint,
            case
                when size.size < 2147483647
                -- rule: a queue of keys keeps to its limit
                then size.size - coalesce((select number from taken where key = ''), 0)
            end,
            (select number from tokens)
        ) as free
    from size
)
