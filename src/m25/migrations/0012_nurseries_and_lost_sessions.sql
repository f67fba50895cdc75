-- version: 2026-11-28T06:00:00Z
-- works from: 2026-11-25T00:00:00Z
-- In which nursery of its parent's a job is, and how often the session of its transaction was lost.

alter table {schema}.job
    -- The name of the nursery, or its number among its parent's that have none.
    add column nursery text,
    -- How often in a row, in this attempt.
    add column session_losses integer;
