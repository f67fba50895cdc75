-- Whether the database cannot hold every character. Reads only.
select current_database() as database, getdatabaseencoding() as encoding
where getdatabaseencoding() <> 'UTF8'
