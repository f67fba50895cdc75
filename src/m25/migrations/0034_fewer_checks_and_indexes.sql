-- version: 2026-11-29T00:00:00Z
-- works from: 2026-11-25T00:00:00Z
-- What every statement that inserts a job makes ready, whatever the job is: a constraint less, an index less.

-- The channel of who waits for a job is looked at where it is notified, which few jobs are.
alter table {schema}.job drop constraint job_waiter_check;

-- One index for both: the attempts of a chain in their order, and so whether any follows one. Older code
-- gets the same answers. Where it asks whether an attempt is the latest, as in lists of what has failed, it
-- finds them more slowly until it is replaced.
create index job_attempt_idx on {schema}.job (original_attempt_id, attempt)
    where original_attempt_id is not null;
drop index {schema}.job_original_attempt_idx;
drop index {schema}.job_previous_attempt_idx;
