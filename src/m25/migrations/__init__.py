"""The migrations, and the code that applies them.

Each migration is a numbered `.sql` file in this folder, run once and never edited after it has
landed. Its first line gives the version, a point in time, that the original m25's `version` table
records; a database made by the original is one that has the first of ours.
"""

from __future__ import annotations

import functools
import hashlib
import re
import shlex
from collections.abc import Sequence
from datetime import datetime
from importlib import resources
from typing import Any, Final

import attrs
import psycopg
from psycopg import sql

from .. import pg
from .._errors import DatabaseNotMigrated, DatabaseTooNew, MigrationError

#: How long a migration waits for a lock on a table, in seconds, before it gives up: one that waited
#: longer would hold up all traffic queueing behind it.
LOCK_TIMEOUT: Final = 5.0

_FILE_NAME = re.compile(r"(\d{4})_\w+\.sql")
_FIRST_LINE = re.compile(r"-- version: (\S+)\n")


@attrs.frozen
class Migration:
    """One step from a schema to the next."""

    number: int
    name: str
    version: datetime
    #: The statements, with `{schema}` where the schema's name belongs.
    template: str

    def statements(self, schema: str) -> str:
        """The SQL of this step, recording itself in the `version` table."""
        quoted = quote(schema)
        return (
            f"{self.template.replace('{schema}', quoted).rstrip()}\n\n"
            f"insert into {quoted}.version (version) values ('{self.version.isoformat()}');\n"
        )


def quote(schema: str) -> str:
    """The schema's name as SQL writes it."""
    return sql.Identifier(schema).as_string(None)


@functools.cache
def all_migrations() -> tuple[Migration, ...]:
    """Every migration this version of m25 knows, in order."""
    found: list[Migration] = []
    for file in resources.files(__name__).iterdir():
        if match := _FILE_NAME.fullmatch(file.name):
            text = file.read_text(encoding="utf-8")
            first = _FIRST_LINE.match(text)
            assert first, f"{file.name} must begin with '-- version: <ISO 8601>'"
            found.append(
                Migration(
                    number=int(match[1]),
                    name=file.name.removesuffix(".sql"),
                    version=datetime.fromisoformat(first[1]),
                    template=text[first.end() :],
                )
            )
    return tuple(sorted(found, key=lambda migration: migration.number))


def latest_version() -> datetime:
    """The version that this m25 works with."""
    return all_migrations()[-1].version


async def read_version(connection: pg.AsyncConnection[Any], schema: str) -> datetime | None:
    """The version of the schema in this database; `None` where there is none."""
    table = sql.Identifier(schema, "version")
    cursor = await connection.execute("select to_regclass(%s) is not null", [table.as_string(None)])
    row = await cursor.fetchone()
    if row is None or not row[0]:
        return None
    # As text: psycopg does not read every DateStyle that a role or a database may have.
    latest = sql.SQL("select to_char(max(version) at time zone 'UTC', {}) from {}").format(
        sql.Literal('YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), table
    )
    row = await (await connection.execute(latest)).fetchone()
    return datetime.fromisoformat(row[0]) if row and row[0] else None


def check_version(found: datetime | None, schema: str) -> None:
    """Refuse to work with a schema of another version.

    Raises:
        DatabaseNotMigrated: the schema is missing or behind.
        DatabaseTooNew: a newer m25 has migrated it.
    """
    if pending_since(found, schema):
        state = (
            "is missing" if found is None else f"is at version {found:%Y-%m-%d %H:%M} and behind"
        )
        option = "" if schema == "m25" else f" --schema {shlex.quote(schema)}"
        raise DatabaseNotMigrated(
            f"schema {schema!r} {state}; `m25 migrate --apply{option}` brings it up to date"
        )


def pending_since(found: datetime | None, schema: str) -> tuple[Migration, ...]:
    """The migrations that a schema at version `found` still needs.

    Raises:
        DatabaseTooNew: a newer m25 has migrated it.
    """
    if found is not None and found > latest_version():
        raise DatabaseTooNew(
            f"schema {schema!r} is at version {found:%Y-%m-%d %H:%M}, and this m25 knows versions "
            f"up to {latest_version():%Y-%m-%d %H:%M}: install the m25 that migrated it, or newer"
        )
    return tuple(m for m in all_migrations() if found is None or m.version > found)


async def pending(connection: pg.AsyncConnection[Any], schema: str) -> tuple[Migration, ...]:
    """The migrations that this database still needs; nothing is changed.

    Raises:
        DatabaseTooNew: a newer m25 has migrated it.
    """
    return pending_since(await read_version(connection, schema), schema)


def script(steps: Sequence[Migration], schema: str) -> str:
    """The SQL of these steps as one transaction, ready for psql; empty for no steps."""
    if not steps:
        return ""
    parts = [f"-- {step.name}\n{step.statements(schema)}" for step in steps]
    return "begin;\n\n" + _take_lock(schema) + "\n" + "\n".join(parts) + "\ncommit;\n"


async def apply(connection: pg.AsyncConnection[Any], schema: str) -> tuple[Migration, ...]:
    """Bring this database up to date in one transaction, and return the steps that were needed.

    Any number of processes may call this at once: one does the work while the others wait for it,
    and then find nothing to do.

    Raises:
        DatabaseTooNew: a newer m25 has migrated it; nothing was changed.
        MigrationError: the database refused a step, or a table was in use for longer than
            `LOCK_TIMEOUT`; nothing was changed, and the psycopg error is the `__cause__`.
    """
    step: Migration | None = None
    try:
        async with connection.transaction():
            await connection.execute(_take_lock(schema).encode())
            steps = await pending(connection, schema)
            for step in steps:
                await connection.execute(step.statements(schema).encode())
    except psycopg.errors.LockNotAvailable as error:
        raise MigrationError(
            f"schema {schema!r} is in use: a table could not be locked within {LOCK_TIMEOUT:g} s; "
            "nothing was changed, try again when there is less traffic"
        ) from error
    except psycopg.Error as error:
        during = f" in {step.name}" if step else ""
        raise MigrationError(
            f"schema {schema!r} could not be migrated{during}: {error}".rstrip()
            + "; nothing was changed"
        ) from error
    return steps


def _take_lock(schema: str) -> str:
    # The isolation level, whatever the database's default is: under a stricter one, what was read
    # after waiting for the lock would be as old as the wait. The lock is released by the
    # transaction's end whatever happens, which also works behind a transaction pooler. The timeout
    # comes after it, and no other holds before: waiting for another migration is no conflict.
    key = int.from_bytes(hashlib.sha256(f"m25 migrate {schema}".encode()).digest()[:8], signed=True)
    return (
        "set transaction isolation level read committed, read write;\n"
        "set local lock_timeout = 0;\n"
        "set local statement_timeout = 0;\n"
        f"select pg_advisory_xact_lock({key});\n"
        f"set local lock_timeout = '{LOCK_TIMEOUT:g}s';\n"
    )
