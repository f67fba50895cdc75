-- How many transactions, or multixacts, it is since the oldest row of this database was frozen, where
-- that comes near to the two thousand million at which PostgreSQL takes no more writes. Reads only.
select kind, age, current_database() as database
from pg_catalog.pg_database
cross join lateral (
    values
        ('transactions', age(datfrozenxid)),
        ('multixacts', mxid_age(datminmxid))
) as oldest (kind, age)
where datname = current_database()
    and age > 1000000000 * %(tolerance)s::float8
