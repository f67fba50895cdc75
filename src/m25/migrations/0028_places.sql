-- version: 2026-11-28T17:30:00Z
-- works from: 2026-11-25T00:00:00Z
-- Under a limit several jobs may be claimed for one place: they run one after the other, in one process.

-- Null where a job is alone in its place.
alter table {schema}.job add column place uuid;
