-- version: 2026-11-28T02:00:00Z
-- works from: 2026-11-25T00:00:00Z
-- Queues that somebody has paused.

alter table {schema}.queue
    -- Since when no worker claims its jobs; null while it is not paused.
    add column paused_at timestamptz,
    -- Why, in the words of whoever has paused it.
    add column pause_reason text;
