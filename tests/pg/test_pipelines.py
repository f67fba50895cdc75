"""A pipeline that an exception leaves, or passes through, costs no statement but its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import psycopg
import pytest
import trio

from m25 import pg
from m25.pg._prepared import Prepared
from m25.pg._wire import Wire

Connection = pg.AsyncConnection[Any]
STATEMENTS = [f"select %s::int + {n}" for n in range(4)]
PREPARED = Prepared(b"prepared", b"select $1::int", ("n",))


class Refused(Exception):
    """The user's own."""


@pytest.fixture(params=[0, 1])
async def connection(empty_dsn: str, request: pytest.FixtureRequest) -> Any:
    connecting = pg.AsyncConnection.connect(
        empty_dsn, autocommit=True, prepare_threshold=request.param
    )
    async with await connecting as connection:
        await connection.execute("create table t (n int check (n <> 13))")
        yield connection


async def all_statements_work(c: Connection, *, prepare: bool | None = True) -> None:
    assert (c.closed, c.pgconn.pipeline_status) == (False, 0)
    for _ in range(2):
        for n, statement in enumerate(STATEMENTS):
            cursor = await c.execute(statement, [1], prepare=prepare)
            assert await cursor.fetchall() == [(1 + n,)]
        assert await PREPARED.run(c, {"n": "1"}) == [(1,)]
    for _ in range(2):
        await c.cursor().executemany("insert into t values (%s)", [(n,) for n in range(3)])


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("prepare", [True, None])
@pytest.mark.parametrize("how", ["exception", "swallowed", "statement", "cancelled", "synced"])
async def test_statements_go_on_after_a_pipeline_was_left_anywhere(
    connection: Connection, how: str, prepare: bool | None, nested: bool
) -> None:
    for place in range(len(STATEMENTS) + 1):
        with trio.CancelScope() as scope, suppress(Refused, psycopg.Error):
            async with connection.pipeline() as pipeline:
                for n, statement in enumerate([*STATEMENTS, "select 1"]):
                    if n == place and how == "exception":
                        raise Refused
                    if n == place and how == "cancelled":
                        scope.cancel()
                    if n == place and how in {"statement", "swallowed", "synced"}:
                        with suppress(*([psycopg.Error] if how != "statement" else [])):
                            await connection.execute("select 1 / 0")
                            if how == "synced":
                                await pipeline.sync()
                    with suppress(*([psycopg.Error] if how == "swallowed" else [])):
                        if nested:
                            async with connection.pipeline():
                                await connection.execute(
                                    statement, [1] if n < len(STATEMENTS) else None, prepare=prepare
                                )
                        else:
                            await connection.execute(
                                statement, [1] if n < len(STATEMENTS) else None, prepare=prepare
                            )
        await all_statements_work(connection, prepare=prepare)


@pytest.mark.parametrize("returning", [False, True])
@pytest.mark.parametrize("how", ["iterable", "value", "server", "cancelled"])
async def test_statements_go_on_after_an_executemany_was_left_anywhere(
    connection: Connection, how: str, returning: bool
) -> None:
    insert = "insert into t values (%s::int) returning n"
    for place in range(6):
        scope = trio.CancelScope()

        def rows(place: int = place, scope: trio.CancelScope = scope) -> Iterator[list[object]]:
            for n in range(6):
                if n == place:
                    match how:
                        case "iterable":
                            raise Refused
                        case "value":
                            yield [object()]
                        case "server":
                            yield [13]
                        case "cancelled":
                            scope.cancel()
                yield [n]

        with scope, suppress(Refused, psycopg.Error):
            await connection.cursor().executemany(insert, rows(), returning=returning)
        await all_statements_work(connection)
        for _ in range(2):
            cursor = connection.cursor()
            await cursor.executemany(insert, [[7], [8]], returning=True)
            assert await cursor.fetchall() == [(7,)]


async def test_statements_go_on_after_a_pipeline_in_which_something_was_dropped(
    connection: Connection,
) -> None:
    for _ in range(3):
        async with connection.pipeline():
            await connection.execute(STATEMENTS[0], [1], prepare=True)
            await connection.execute("drop table if exists nothing")
        await all_statements_work(connection)


async def test_statements_go_on_after_a_rollback_of_those_that_were_prepared_in_it(
    connection: Connection,
) -> None:
    await PREPARED.run(connection, {"n": "1"})
    for _ in range(3):
        with suppress(Refused):
            async with connection.pipeline(), connection.transaction():
                for statement in STATEMENTS:
                    await connection.execute(statement, [1], prepare=True)
                raise Refused
        await all_statements_work(connection)


async def test_a_cancelled_pipeline_ends_though_the_first_request_overtook_its_statement(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request to cancel that comes before its statement finds nothing to cancel."""
    requests = 0
    cancel = Wire.cancel

    async def first_comes_too_early(wire: Wire, timeout: float | None) -> None:
        nonlocal requests
        requests += 1
        if requests > 1:
            await cancel(wire, timeout)
        await trio.lowlevel.checkpoint()

    monkeypatch.setattr(Wire, "cancel", first_comes_too_early)
    with trio.CancelScope() as scope:
        async with connection.pipeline():
            await connection.execute("select pg_sleep(600)")
            scope.cancel()
    assert scope.cancelled_caught
    assert requests > 1
    await all_statements_work(connection)


async def test_a_pipeline_that_cannot_be_ended_closes_the_connection(
    connection: Connection,
) -> None:
    with pytest.raises(psycopg.Error):
        async with connection.pipeline():
            await connection.execute("copy t to stdout")
            await connection.execute("select 1")
    assert connection.closed
