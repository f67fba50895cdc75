"""Backends terminated at random under 50 tasks on a pool.

`M25_STORM_SECONDS` makes it last longer than the few seconds that it lasts in the suite.
"""

from __future__ import annotations

import os
import random
from collections import Counter

import psycopg
import pytest
import trio
from _until import until
from psycopg.conninfo import make_conninfo

from m25 import pg
from support.waiting import PATIENCE, eventually

SECONDS = float(os.environ.get("M25_STORM_SECONDS", "4"))
SEED = int(os.environ.get("M25_STORM_SEED", "25"))
NAME = "m25_storm"
#: How many backends are terminated, at least.
LEAST = 5


@pytest.mark.parametrize("seconds", [1.0, pytest.param(SECONDS, marks=pytest.mark.slow)])
async def test_terminated_backends_cost_no_result_no_slot_and_little_time(
    empty_dsn: str, seconds: float
) -> None:
    chance = random.Random(SEED)
    found: Counter[str] = Counter()
    storm_is_over = trio.Event()
    worked_since: set[int] = set()
    terminated: list[int] = []

    async def are_gone() -> bool:
        left = "select 1 from pg_stat_activity where pid = any(%s)"
        return await (await killer.execute(left, [terminated])).fetchone() is None

    async def work(number: int, pool: pg.Pool) -> None:
        while number not in worked_since:
            was_over = storm_is_over.is_set()
            try:
                await one_piece(pool)
            except pg.PoolTimeout:
                found["waited for a slot that was lost"] += 1
            except (psycopg.OperationalError, psycopg.errors.InFailedSqlTransaction):
                # The latter where a query was cut short, and its transaction with it.
                found["failed"] += 1
            else:
                found["worked"] += 1
                if was_over:
                    worked_since.add(number)

    async def one_piece(pool: pg.Pool) -> None:
        secret = chance.randrange(10**9)
        async with pool.connection() as connection:
            kind = chance.randrange(4)
            if kind == 0:
                cursor = await connection.execute("select %s::int", [secret])
                assert await cursor.fetchall() == [(secret,)]
            elif kind == 1:
                async with connection.transaction():
                    await connection.execute("insert into t values (%s)", [secret])
                    cursor = await connection.execute("select 1 from t where n = %s", [secret])
                    assert await cursor.fetchone() == (1,)
            elif kind == 2:
                sql = "copy (select generate_series(1, 1000)) to stdout"
                async with connection.cursor().copy(sql) as copy:
                    assert len([row async for row in copy.rows()]) == 1000
            else:
                with trio.move_on_after(chance.uniform(0, 0.01)):
                    await connection.execute("select pg_sleep(0.005)")

    async with (
        await pg.AsyncConnection.connect(empty_dsn, autocommit=True) as killer,
        pg.Pool(make_conninfo(empty_dsn, application_name=NAME), max_size=10) as pool,
    ):
        await killer.execute("create table t (n int)")
        with trio.fail_after(seconds + 90):
            async with trio.open_nursery() as nursery:
                for number in range(50):
                    nursery.start_soon(work, number, pool)
                end = trio.current_time() + seconds
                while trio.current_time() < end or len(terminated) < LEAST:
                    cursor = await killer.execute(
                        "select pid, pg_terminate_backend(pid) from pg_stat_activity"
                        " where application_name = %s and datname = current_database()"
                        " and random() < %s",
                        [NAME, chance.uniform(0, 1)],
                    )
                    terminated += [pid for pid, _ in await cursor.fetchall()]
                    await trio.sleep(chance.uniform(0, 0.1))
                storm_is_over.set()
                ended = trio.current_time()
        recovered_in = trio.current_time() - ended
        print(dict(found), f"recovered in {recovered_in:.2f} s", pool.stats())
        assert worked_since == set(range(50))
        assert recovered_in < 40
        assert found["waited for a slot that was lost"] == 0
        # Those that were told to go may take their time, and so may those that were opened last.
        await eventually(are_gone)
        await until(lambda: pool.stats().size == pool.stats().idle)
        stats = pool.stats()
        assert stats.waiting == 0
        assert stats.size <= 10
        # Each slot can be had, at once.
        async with trio.open_nursery() as nursery:
            barrier = trio.Event()
            held = 0

            async def hold() -> None:
                nonlocal held
                async with pool.connection() as connection:
                    assert await (await connection.execute("select 1")).fetchone() == (1,)
                    held += 1
                    if held == 10:
                        barrier.set()
                    await barrier.wait()

            with trio.fail_after(PATIENCE):
                for _ in range(10):
                    nursery.start_soon(hold)
                await barrier.wait()
