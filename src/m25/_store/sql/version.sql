-- The newest migration in this database.
select max(version) from {schema}.version
