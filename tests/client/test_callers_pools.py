"""A client on a pool of the caller's, whose connections are as that program likes them."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import dict_row, namedtuple_row

import m25
from m25 import pg
from support.waiting import ended


@m25.queue("texts", poll_interval=0.1)
async def texts(text: str) -> str | None:
    if text == "nothing":
        return None
    if text == "raise":
        raise ValueError("→")
    return f"→ {text}"


async def outputs(pool: pg.Pool[Any]) -> list[str | None]:
    """What comes of some jobs, enqueued in all the ways there are."""
    async with m25.open(pool) as m:
        m.add_queue(texts)
        await m.start()
        first = await m.enqueue(texts, "one")
        await m.enqueue_many(texts, ["two", "three"])
        async with pool.connection() as connection, connection.transaction():
            in_transaction = await m.enqueue(texts, "nothing", connection=connection)
        raised = await ended(m, texts, (await m.enqueue(texts, "raise")).id)
        assert raised.crash_message == "→", raised
        records = [await ended(m, texts, record.id) for record in (first, in_transaction)]
        return [record.output for record in records]


@pytest.mark.parametrize(
    "kwargs",
    [
        {"row_factory": dict_row},
        {"row_factory": namedtuple_row, "autocommit": True},
        {"cursor_factory": psycopg.AsyncRawCursor},
        {"cursor_factory": psycopg.AsyncClientCursor, "autocommit": True},
    ],
    ids=["dictionaries", "named tuples", "raw cursors", "client cursors"],
)
async def test_its_rows_and_cursors_may_be_any(dsn: str, kwargs: dict[str, Any]) -> None:
    async with pg.Pool(dsn, kwargs=kwargs) as pool:
        assert await outputs(pool) == ["→ one", None]


def alter(dsn: str, setting: str) -> None:
    name = conninfo_to_dict(dsn)["dbname"]
    with psycopg.connect(dsn, autocommit=True) as admin:
        statement = sql.SQL("alter database {} set {}")
        admin.execute(statement.format(sql.Identifier(str(name)), sql.SQL(setting)))


async def test_its_connections_may_be_of_a_class_that_takes_something_of_its_own(dsn: str) -> None:
    class Named(pg.AsyncConnection[Any]):
        @classmethod
        async def connect(cls, *args: Any, secret: str, **kwargs: Any) -> Any:
            assert secret == "database of jobs"
            return await super().connect(*args, **kwargs)

    kwargs = {"secret": "database of jobs"}
    async with pg.Pool(dsn, connection_class=Named, kwargs=kwargs) as pool:
        assert await outputs(pool) == ["→ one", None]


@pytest.mark.parametrize(
    ("setting", "kwargs"),
    [
        ("client_encoding = 'LATIN1'", {"client_encoding": "UTF8"}),
        ("array_nulls = off", {"options": "-c array_nulls=on"}),
    ],
)
async def test_settings_that_would_lose_values_are_refused_with_what_to_do(
    dsn: str, setting: str, kwargs: dict[str, str]
) -> None:
    name = conninfo_to_dict(dsn)["dbname"]
    with psycopg.connect(dsn, autocommit=True) as admin:
        statement = sql.SQL("alter database {} set {}")
        admin.execute(statement.format(sql.Identifier(str(name)), sql.SQL(setting)))
    async with pg.Pool(dsn) as pool:
        with pytest.raises(m25.errors.UsageError) as error:
            async with m25.open(pool):
                pass
        assert f"give the pool kwargs={kwargs}".replace("'", '"') in str(error.value)
    async with pg.Pool(dsn, kwargs=kwargs) as pool:
        assert await outputs(pool) == ["→ one", None]
