-- version: 2026-11-25T00:00:00Z
-- From which version on code works with the schema as a migration left it, so that processes which
-- were deployed before a migration can be started again after it; null where that is the
-- migration's own. Nullable, so that the original's plain insert stays legal.
--
-- This migration declares nothing: code that came before it refuses whatever is newer than itself.

alter table {schema}.version
    add column works_from timestamptz check (works_from <= version);
