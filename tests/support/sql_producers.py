"""Who enqueues by the function in SQL, each by its own driver, and each in a transaction."""

from __future__ import annotations

import asyncio
import re
import subprocess
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias

import psycopg
import pytest
from psycopg import sql

from .databases import psql_command
from .producers import LIBRARIES, producer


class Refused(Exception):
    """What the database refuses, as each driver has it: SQLSTATE and detail."""


#: Puts a job, which is an input as JSON and options, on the queue `emails` in a transaction, and
#: commits that or rolls it back.
Enqueue: TypeAlias = Callable[[str, Mapping[str, object], bool], str | None]

DRIVERS = [*LIBRARIES, "psycopg under asyncio", "asyncpg", "psql"]


def call(job: str, options: Mapping[str, object]) -> str:
    """The call as text, which all drivers take."""
    given = [
        sql.SQL("{} => {}").format(sql.Identifier(name), sql.Literal(value))
        for name, value in options.items()
    ]
    arguments = sql.SQL(", ").join([sql.Literal("emails"), sql.Literal(job), *given])
    return sql.SQL("select m25.enqueue({})::text").format(arguments).as_string(None)


@contextmanager
def sql_producer(driver: str, dsn: str) -> Generator[Enqueue]:
    """One of them; skipped where its driver is not installed."""
    if driver == "psql":
        yield lambda *given: _by_psql(dsn, *given)
    elif driver == "psycopg under asyncio":
        yield lambda *given: asyncio.run(_by_psycopg(dsn, *given))
    elif driver == "asyncpg":
        with _asyncpg(dsn) as enqueue:
            yield enqueue
    else:
        yield lambda *given: _by_library(driver, dsn, *given)


def _by_library(
    library: str, dsn: str, job: str, options: Mapping[str, object], commits: bool
) -> str | None:
    with producer(library, dsn) as user:
        try:
            answer = user.execute(call(job, options))
        except Exception as error:
            user.rollback()
            # SQLAlchemy and Django raise errors of their own.
            causes = (error, getattr(error, "orig", None), error.__cause__)
            cause = next(each for each in causes if isinstance(each, psycopg.Error))
            raise Refused(cause.sqlstate, cause.diag.message_detail) from error
        id: str | None = answer.fetchone()[0]
        (user.commit if commits else user.rollback)()
        return id


async def _by_psycopg(
    dsn: str, job: str, options: Mapping[str, object], commits: bool
) -> str | None:
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        try:
            row = await (await connection.execute(call(job, options).encode())).fetchone()
        except psycopg.Error as error:
            raise Refused(error.sqlstate, error.diag.message_detail) from error
        if not commits:
            await connection.rollback()
        assert row is not None
        id: str | None = row[0]
        return id


@contextmanager
def _asyncpg(dsn: str) -> Generator[Enqueue]:
    asyncpg: Any = pytest.importorskip("asyncpg")
    given = psycopg.conninfo.conninfo_to_dict(dsn)
    known = {"host": "host", "port": "port", "user": "user", "dbname": "database"}
    known["password"] = "password"
    arguments = {known[name]: value for name, value in given.items() if name in known}

    async def enqueue(job: str, options: Mapping[str, object], commits: bool) -> str | None:
        transaction = connection.transaction()
        await transaction.start()
        try:
            id = await connection.fetchval(call(job, options))
        except asyncpg.PostgresError as error:
            await transaction.rollback()
            raise Refused(error.sqlstate, error.detail) from error
        await (transaction.commit if commits else transaction.rollback)()
        return id

    with asyncio.Runner() as runner:
        connection = runner.run(asyncpg.connect(**arguments))
        yield lambda *given: runner.run(enqueue(*given))
        runner.run(connection.close())


def _by_psql(dsn: str, job: str, options: Mapping[str, object], commits: bool) -> str | None:
    text = f"begin;\n{call(job, options)};\n{'commit' if commits else 'rollback'};\n"
    done = subprocess.run(
        [*psql_command(dsn), "--tuples-only", "--no-align", "--set", "VERBOSITY=verbose"],
        input=text,
        text=True,
        capture_output=True,
    )
    if done.returncode:
        said = re.search(r"ERROR:  (\w{5}): .*?(?:\nDETAIL:  (.*?))?\n", done.stderr)
        assert said, done.stderr
        raise Refused(said[1], said[2])
    return done.stdout.strip() or None
