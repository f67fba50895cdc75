-- version: 2026-11-28T09:00:00Z
-- works from: 2026-11-25T00:00:00Z
-- Jobs that old workers leave to newer ones.

-- Null but for a job in whose input a worker did not know something, as a field that only newer
-- programs have: since when workers have released it for that. It costs a row nothing.
alter table {schema}.job
    add column unknown_since timestamptz;
