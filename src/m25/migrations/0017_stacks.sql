-- version: 2026-11-28T11:00:00Z
-- works from: 2026-11-25T00:00:00Z
-- Where a running handler waits, for whoever asks.

-- Both are null but while somebody waits for the answer.
alter table {schema}.job
    add column stack_asked_at timestamptz,
    -- The answer of the job's owner, as JSON: of each task of the handler the files, lines and functions.
    add column stack text;
