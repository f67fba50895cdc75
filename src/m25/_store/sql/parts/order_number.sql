-- The place of a job that is put with a key of its order: the next, in the order in which jobs are given.
case when order_key is not null then {schema}.next_order_number() end as order_number
