"""Connections of other libraries, each with the commit and the rollback of its users."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import attrs
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict


@attrs.frozen
class Producer:
    """A connection in which a transaction may be open, as its library has it."""

    connection: Any
    commit: Any
    rollback: Any
    #: Runs a statement of the user's own.
    execute: Any


LIBRARIES = ["psycopg", "sqlalchemy connection", "sqlalchemy session", "django"]


@contextmanager
def producer(library: str, dsn: str) -> Generator[Producer]:
    """A connection of a library; skipped where that is not installed."""
    if library == "psycopg":
        with psycopg.connect(dsn) as connection:
            yield Producer(connection, connection.commit, connection.rollback, connection.execute)
            connection.rollback()
    elif library == "django":
        with _django(dsn) as made:
            yield made
    else:
        sqlalchemy = pytest.importorskip("sqlalchemy")
        engine = sqlalchemy.create_engine(
            "postgresql+psycopg://", creator=lambda: psycopg.connect(dsn)
        )
        session_of = pytest.importorskip("sqlalchemy.orm").Session
        make = engine.connect if library.endswith("connection") else lambda: session_of(engine)
        try:
            with make() as connection:

                def execute(statement: str) -> Any:
                    return connection.execute(sqlalchemy.text(statement))

                yield Producer(connection, connection.commit, connection.rollback, execute)
        finally:
            engine.dispose()


@contextmanager
def _django(dsn: str) -> Generator[Producer]:
    settings = pytest.importorskip("django.conf").settings
    if not settings.configured:
        import django

        settings.configure(DATABASES={}, USE_TZ=True)
        django.setup()
    from django.db import connections, transaction

    given = conninfo_to_dict(dsn)
    alias = str(given["dbname"])
    known = {"ENGINE": "django.db.backends.postgresql", "NAME": alias}
    names = {"user": "USER", "password": "PASSWORD", "host": "HOST", "port": "PORT"}
    known.update((names[name], value) for name, value in given.items() if name in names)
    others = {name: value for name, value in given.items() if name not in {*names, "dbname"}}
    made = connections.configure_settings({"default": {}, alias: {**known, "OPTIONS": others}})
    connections.settings[alias] = made[alias]
    connection = connections[alias]
    opened: list[Any] = []

    def begin() -> None:
        opened.append(transaction.atomic(using=alias))
        opened[-1].__enter__()

    def end(*, commits: bool) -> None:
        block = opened.pop()
        transaction.set_rollback(not commits, using=alias)
        block.__exit__(None, None, None)

    begin()
    try:
        yield Producer(
            connection,
            lambda: end(commits=True),
            lambda: (end(commits=False), begin()),
            lambda statement: connection.cursor().execute(statement),
        )
        if opened:
            end(commits=False)
    finally:
        connection.close()
        del connections[alias]
        del connections.settings[alias]
