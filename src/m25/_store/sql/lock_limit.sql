-- Lock a limit, until the transaction ends: whoever else claims under it waits.
-- The claim that follows in the same transaction is another statement, so that it sees what was
-- committed while this one waited: a single statement would count what ran before that.
-- Safe under concurrency: it is one row, and nobody who has it locked waits for any other lock.
select name
from {schema}.limiter
where name = %(limiter)s::text
for no key update -- rule: claims under one limit come one after the other
