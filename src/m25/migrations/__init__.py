"""The migrations, and the code that applies them.

Each migration is a numbered `.sql` file in this folder, run once and never edited after it has
landed. Its first line gives the version, a point in time, that the original m25's `version` table
records; a database made by the original is one that has the first of ours.

Its second line may be `-- works from: ` and the version of an earlier migration: code that knows
the migrations up to that one works with what this one makes of the schema. So it is with one that
only adds: a table, an index, a column that is nullable or has a default and that statements of
older code can leave out. While a deployment replaces processes one by one, those that have not
been replaced can then be started again. Without the line they are refused.
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
from psycopg.rows import tuple_row

from .. import _servers, pg
from .._errors import DatabaseNotMigrated, DatabaseTooNew, MigrationError
from .._text import check_text

#: How long a migration waits for a lock on a table, in seconds, before it gives up: one that waited
#: longer would hold up all traffic queueing behind it.
LOCK_TIMEOUT: Final = 5.0

#: PostgreSQL cuts longer names off, in bytes.
_LONGEST_NAME: Final = 63

_FILE_NAME = re.compile(r"\d{4}_\w+\.sql")
_HEAD = re.compile(r"-- version: (\S+)\n(?:-- works from: (\S+)\n)?")


@attrs.frozen
class Migration:
    """One step from a schema to the next."""

    number: int
    name: str
    version: datetime
    #: The statements, with `{schema}` where the schema's name belongs.
    template: str
    #: Code of this version and newer works with the schema that it makes; `None` if no older than
    #: its own does.
    works_from: datetime | None = None

    def statements(self, schema: str) -> str:
        """The SQL of this step, recording itself in the `version` table."""
        template = self.template.replace("{schema}", quote(schema)).rstrip()
        return f"{template}\n\n{self.record(schema)}\n"

    def record(self, schema: str) -> str:
        """The statement that records it."""
        columns = {"version": self.version, "works_from": self.works_from}
        # The first migrations have no `works_from` to write to.
        given = {name: f"'{at.isoformat()}'" for name, at in columns.items() if at is not None}
        names, values = ", ".join(given), ", ".join(given.values())
        return f"insert into {quote(schema)}.version ({names}) values ({values});"  # noqa: S608


@attrs.frozen
class SchemaVersion:
    """How far a schema has been migrated, and who can work with it."""

    #: That of its newest migration.
    version: datetime
    #: The oldest version of code that every one of its migrations allows.
    works_from: datetime

    @property
    def is_newer(self) -> bool:
        """Whether a newer m25 has migrated it."""
        return self.version > latest_version()


def quote(schema: str) -> str:
    """The schema's name as SQL writes it."""
    return sql.Identifier(schema).as_string(None)


def check_schema(name: str) -> str:
    """Return the name of a schema, if it can be one.

    Raises:
        ValueError: PostgreSQL cannot hold it, or would cut it off, and so use another.
    """
    check_text(name, "the name of a schema", ValueError)
    if len(name.encode()) > _LONGEST_NAME:
        raise ValueError(
            f"the name of a schema must be at most {_LONGEST_NAME} bytes long in UTF-8, and"
            f" {name[:20]!r}… is longer"
        )
    return name


@functools.cache
def all_migrations() -> tuple[Migration, ...]:
    """Every migration this version of m25 knows, in order."""
    files = resources.files(__name__).iterdir()
    found = [
        _read(file.name, file.read_text(encoding="utf-8"))
        for file in files
        if _FILE_NAME.fullmatch(file.name)
    ]
    return tuple(sorted(found, key=lambda migration: migration.number))


def _read(file_name: str, text: str) -> Migration:
    """The migration in a file of this name."""
    name = file_name.removesuffix(".sql")
    head = _HEAD.match(text)
    assert head, f"{file_name} must begin with '-- version: <ISO 8601>'"
    return Migration(
        number=int(name[:4]),
        name=name,
        version=datetime.fromisoformat(head[1]),
        template=text[head.end() :],
        works_from=datetime.fromisoformat(head[2]) if head[2] else None,
    )


def latest_version() -> datetime:
    """The version that this m25 works with."""
    return all_migrations()[-1].version


async def read_version(connection: pg.AsyncConnection[Any], schema: str) -> SchemaVersion | None:
    """How far the schema in this database has been migrated; `None` where there is none."""
    table = sql.Identifier(schema, "version")
    # Not as a caller's own connection makes its cursors, and its rows.
    cursor = pg.AsyncCursor(connection, row_factory=tuple_row)
    await cursor.execute("select to_regclass(%s) is not null", [table.as_string(None)])
    row = await cursor.fetchone()
    if row is None or not row[0]:
        return None
    # As text: psycopg does not read every DateStyle that a role or a database may have. By way of
    # JSON: the column is not there before the migration that adds it.
    latest = sql.SQL(
        "select to_char(max(version) at time zone 'UTC', {format}),"
        " to_char(max(coalesce((to_jsonb(step) ->> 'works_from')::timestamptz, version))"
        " at time zone 'UTC', {format}) from {table} as step"
    ).format(format=sql.Literal('YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), table=table)
    await cursor.execute(latest)
    row = await cursor.fetchone()
    if row is None or not row[0]:
        return None
    return SchemaVersion(datetime.fromisoformat(row[0]), datetime.fromisoformat(row[1]))


def check_version(found: SchemaVersion | None, schema: str) -> None:
    """Refuse to work with a schema that does not fit.

    Raises:
        DatabaseNotMigrated: the schema is missing or behind.
        DatabaseTooNew: a newer m25 has migrated it, and this one cannot work with that.
    """
    if pending_since(found, schema):
        state = (
            "is missing"
            if found is None
            else f"is at version {found.version:%Y-%m-%d %H:%M} and behind"
        )
        option = "" if schema == "m25" else f" --schema {shlex.quote(schema)}"
        raise DatabaseNotMigrated(
            f"schema {schema!r} {state}; `m25 migrate --apply{option}` brings it up to date"
        )


def pending_since(found: SchemaVersion | None, schema: str) -> tuple[Migration, ...]:
    """The migrations that a schema which was found like this still needs.

    Raises:
        DatabaseTooNew: a newer m25 has migrated it, and this one cannot work with that.
    """
    if found is not None and found.works_from > latest_version():
        raise DatabaseTooNew(
            f"schema {schema!r} is at version {found.version:%Y-%m-%d %H:%M} and needs code of "
            f"version {found.works_from:%Y-%m-%d %H:%M} or newer; this m25 knows versions up to "
            f"{latest_version():%Y-%m-%d %H:%M}: install the m25 that migrated it, or newer"
        )
    return tuple(m for m in all_migrations() if found is None or m.version > found.version)


async def pending(connection: pg.AsyncConnection[Any], schema: str) -> tuple[Migration, ...]:
    """The migrations that this database still needs; nothing is changed.

    Raises:
        UnsupportedServer: it is no PostgreSQL, or one that is too old.
        DatabaseTooNew: a newer m25 has migrated it, and this one cannot work with that.
    """
    await check_server(connection)
    return pending_since(await read_version(connection, schema), schema)


async def check_server(connection: pg.AsyncConnection[Any]) -> None:
    """Refuse to work with a server that is no PostgreSQL.

    Raises:
        UnsupportedServer: it is none, or one that is too old.
    """
    cursor = pg.AsyncCursor(connection, row_factory=tuple_row)
    row = await (await cursor.execute("select version()")).fetchone()
    assert row is not None
    _servers.check_server(row[0], connection.info.server_version)


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
        UnsupportedServer: it is no PostgreSQL, or one that is too old; nothing was changed.
        DatabaseTooNew: a newer m25 has migrated it, and this one cannot work with that; nothing
            was changed.
        MigrationError: the database refused a step, or a table was in use for longer than
            `LOCK_TIMEOUT`; nothing was changed, and the psycopg error is the `__cause__`.
    """
    step: Migration | None = None
    try:
        # Before the lock: others may not have such.
        await check_server(connection)
        async with connection.transaction():
            await connection.execute(_take_lock(schema).encode())
            steps = pending_since(await read_version(connection, schema), schema)
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
