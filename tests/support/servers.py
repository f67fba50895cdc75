"""A PostgreSQL that answers what other servers answer; of those, nothing else is here."""

from __future__ import annotations

from typing import Final

#: Has the catalog of Citus in a database, with one table of m25's in it.
CITUS: Final = (
    "set allow_system_table_mods = on; "
    "create table pg_catalog.pg_dist_partition (logicalrelid regclass); "
    "insert into pg_catalog.pg_dist_partition values ('m25.job')"
)

#: Refuses what makes a connection fit for m25, as a server does that knows none of these settings.
#: PostgreSQL runs its own functions without a look at its catalog, unless they can be inlined.
NO_SETTINGS: Final = """
set allow_system_table_mods = on;
create or replace function pg_catalog.set_config(text, text, boolean) returns text
    language sql as $$ select pg_catalog.current_setting('unknown.' || $1) $$
"""


def answering(version: str) -> bytes:
    """The statements after which a database answers so to `select version()`."""
    return (
        "set allow_system_table_mods = on; "
        "create or replace function pg_catalog.version() returns text"
        f" language sql stable as $$ select '{version}' $$"
    ).encode()
