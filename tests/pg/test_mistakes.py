"""What people pass, enter and install by mistake is named, with what to do instead."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import pytest
import trio
from psycopg import capabilities, pq

from m25 import pg
from support.waiting import PATIENCE


async def test_what_is_passed_for_a_connection_is_named(empty_dsn: str) -> None:
    async with (
        pg.Pool(empty_dsn) as pool,
        pool.connection() as connection,
        await pg.AsyncConnection.connect(empty_dsn) as other,
    ):
        pg.check_connection(connection)
        pg.check_connection(other)
        with psycopg.connect(empty_dsn) as sync:
            mistakes: list[tuple[object, str]] = [
                (sync, "psycopg.Connection, which blocks the whole program"),
                (
                    psycopg.AsyncConnection(sync.pgconn),
                    "psycopg.AsyncConnection, which needs asyncio",
                ),
                (pool.connection(), "async with pool.connection"),
                (pool, "async with pool.connection"),
                (pg.AsyncConnection.connect(empty_dsn), "write `await` before"),
                (pg.AsyncConnection, "the class AsyncConnection"),
                (empty_dsn, "a string"),
                (connection.cursor(), "a m25.pg.AsyncCursor"),
                (None, "NoneType"),
            ]
            for mistake, message in mistakes:
                with pytest.raises(TypeError) as caught:
                    pg.check_connection(mistake)
                assert message in str(caught.value)
                assert str(sync.info.password) not in str(caught.value)


@pytest.mark.parametrize("make", [pg.Pool, pg.Listener])
async def test_outside_trio_it_says_so(empty_dsn: str, make: Any) -> None:
    async def enter() -> None:
        async with make(empty_dsn):
            pass

    def in_asyncio() -> None:
        asyncio.run(enter())

    with pytest.raises(RuntimeError, match=rf"m25.pg.{make.__name__} works in a Trio task only"):
        await trio.to_thread.run_sync(in_asyncio)


@pytest.mark.parametrize("make", [pg.Pool, pg.Listener])
async def test_what_is_entered_twice_says_so_and_works_on(empty_dsn: str, make: Any) -> None:
    async with make(empty_dsn) as entered:
        with pytest.raises(RuntimeError, match="can be entered once: make another"):
            async with entered:
                pass
        if isinstance(entered, pg.Pool):
            async with entered.connection() as connection:
                await connection.execute("select 1")
        else:
            async with entered.subscribe("news") as events:
                with trio.fail_after(PATIENCE):
                    assert await events.receive() == pg.Gap()
    with pytest.raises(RuntimeError, match="can be entered once: make another"):
        async with entered:
            pass


async def test_a_libpq_that_is_too_old_is_told_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(type(capabilities), "has_pipeline", lambda self, check=False: False)
    monkeypatch.setattr(pq, "version", lambda: 130004)
    for make in (pg.Pool, pg.Listener, pg.AsyncConnection.connect):
        with pytest.raises(psycopg.NotSupportedError, match=r"needs libpq 14 .* 13\.4: .*binary"):
            made = make("")
            if not isinstance(made, pg.Pool | pg.Listener):
                await made
