"""The server goes: stopped at once, replaced by its standby, out of room, out of connections."""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
from collections import Counter
from collections.abc import Awaitable, Generator
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
import trio
import trio.testing
from psycopg.conninfo import make_conninfo

import m25
from support.proxy import Proxy
from support.told import told
from support.waiting import PATIENCE, ended, eventually, rows

from .servers import hand_over, hosts, serving

#: How long the database is away, in seconds.
OUTAGE = float(os.environ.get("M25_OUTAGE_SECONDS", "1"))
#: Within five seconds of its return, work goes on, where nothing else keeps the machine busy; here
#: other tests do.
RESUMED = 60.0


async def counted(dsn: str, status: str = "succeeded") -> int:
    statement = "select count(*) from m25.job where status = %(status)s"
    (row,) = await rows(dsn, statement, status=status)
    return int(row["count"])


async def all_succeeded(dsn: str, number: int) -> None:
    async def look() -> bool:
        return await counted(dsn) == number

    await eventually(look, patience=60)


class Busy:
    """A queue whose first fifty jobs run until they are released, and then all as fast as can be.

    Their leases last longer than any outage.
    """

    def __init__(self) -> None:
        self.starts: Counter[int] = Counter()
        self.begun = trio.Event()
        self.released = trio.Event()
        self.finished = trio.Event()
        self.queue = m25.queue(
            "busy", max_concurrency=50, poll_interval=0.5, heartbeat_interval=10 + OUTAGE
        )(self._run)

    async def _run(self, number: int) -> int:
        self.starts[number] += 1
        if self.starts.total() == 50:
            self.begun.set()
        await self.released.wait()
        if self.starts.total() == 50:
            self.finished.set()
        return number


@pytest.mark.slow
async def test_fifty_that_run_and_a_thousand_that_wait_outlive_a_server_stopped_at_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "m25")
    busy = Busy()
    async with serving() as server, m25.open(server.dsn) as m, m25.open(server.dsn) as web:
        await web.enqueue_many(busy.queue, range(1_050))
        m.add_queue(busy.queue)
        await m.start()
        await busy.begun.wait()
        await server.stop_at_once()
        before, away_at = server.proxy.connections, trio.current_time()
        with trio.fail_after(OUTAGE + 60):
            busy.released.set()
            await busy.finished.wait()
            await trio.sleep(OUTAGE)
            tries = server.proxy.connections - before
            away = trio.current_time() - away_at
            # The fifty results wait, and nothing else is begun meanwhile.
            assert busy.starts.total() == 50
            await server.start()
        back_at = trio.current_time()
        await eventually(lambda: counted(server.direct))
        assert trio.current_time() - back_at < RESUMED
        await web.enqueue(busy.queue, 1_050)
        await all_succeeded(server.direct, 1_051)
    assert busy.starts == Counter(range(1_051))
    # A few connections that try again, with growing pauses: no herd.
    assert tries <= 20 + 10 * away
    said = told(caplog)
    assert said.count("DatabaseFailing") == 1
    assert said.count("DatabaseAnswers") == 1
    assert len(said) <= 4 + OUTAGE / 10


@pytest.mark.slow
async def test_when_the_standby_takes_over_nothing_that_was_acknowledged_is_lost() -> None:
    busy = Busy()
    acknowledged: list[m25.JobId] = []

    async def keep_asking(web: m25.M25) -> None:
        number = 1_000_000
        while True:
            number += 1
            job = m25.Job(number, id=m25.JobId(uuid4()))
            while True:
                try:
                    acknowledged.append((await web.enqueue(busy.queue, job)).id)
                except m25.errors.JobRecordFetchQueryError:
                    # Safe to repeat, as the id is ours.
                    await trio.sleep(0.05)
                else:
                    break
            await trio.sleep(0.01)

    async def twenty_more() -> None:
        enough = len(acknowledged) + 20
        with trio.fail_after(RESUMED):
            while len(acknowledged) < enough:  # noqa: ASYNC110 - a look now and then will do
                await trio.sleep(0.01)

    async with serving() as primary:
        standby = await primary.copy()
        # What is acknowledged from now on is on both.
        await rows(primary.direct, "alter system set synchronous_standby_names = '*'")
        await rows(primary.direct, "select pg_reload_conf()")
        dsn = hosts(primary, standby)
        async with (
            m25.open(dsn) as m,
            m25.open(dsn) as web,
            trio.open_nursery() as nursery,
        ):
            await web.enqueue_many(busy.queue, range(150))
            m.add_queue(busy.queue)
            await m.start()
            await busy.begun.wait()
            nursery.start_soon(keep_asking, web)
            await twenty_more()
            await primary.stop_at_once()
            busy.released.set()
            await standby.promote()
            back_at = trio.current_time()
            await eventually(lambda: counted(standby.direct))
            assert trio.current_time() - back_at < RESUMED
            await twenty_more()
            nursery.cancel_scope.cancel()
        found = await rows(
            standby.direct,
            "select count(*) from m25.job where id = any(%(ids)s)",
            ids=[id.value for id in acknowledged],
        )
        assert found[0]["count"] == len(acknowledged)
    assert set(busy.starts.values()) == {1}


@pytest.mark.slow
async def test_nothing_goes_on_at_a_former_primary_that_still_answers() -> None:
    begun, go_on = trio.Event(), trio.Event()

    @m25.queue(
        "written", transactional=True, poll_interval=0.2, heartbeat_interval=1, allowed_losses=0
    )
    async def written(number: int, *, connection: m25.pg.AsyncConnection) -> int:
        await connection.execute("insert into effect values (%s)", [number])
        return number

    async def write(connection: m25.pg.AsyncConnection, number: int) -> int:
        await connection.execute("insert into effect values (%s)", [number])
        return number

    @m25.queue("stepped", poll_interval=0.2, heartbeat_interval=1)
    async def stepped(number: int) -> int:
        # At a former primary each of its sessions has a step at once.
        async with trio.open_nursery() as nursery:
            for at in range(3):
                step = partial(m25.current_job().transact, "write", write, number, key=str(at))
                nursery.start_soon(step)
        return number

    @m25.queue("long", poll_interval=0.2, heartbeat_interval=10)
    async def long(number: int) -> int:
        begun.set()
        await go_on.wait()
        return number

    async with serving() as primary:
        await rows(primary.direct, "create table effect (number int)")
        standby = await primary.copy()
        await rows(primary.direct, "alter system set synchronous_standby_names = '*'")
        await rows(primary.direct, "select pg_reload_conf()")
        dsn = hosts(primary, standby)
        async with m25.open(dsn) as m, m25.open(dsn) as web:
            m.add_queue(written)
            m.add_queue(stepped)
            m.add_queue(long)
            await m.start()
            waiting = await web.enqueue(long, 0)
            await begun.wait()
            for number in range(3):
                job = await web.enqueue(written, number)
                assert await web.result(written, job.id) == number
            first = await web.enqueue(stepped, 100)
            assert await web.result(stepped, first.id) == 100
            # Every session stays as it is: none is ended.
            await rows(primary.direct, "alter system reset synchronous_standby_names")
            await rows(primary.direct, "alter system set default_transaction_read_only = on")
            await rows(primary.direct, "select pg_reload_conf()")
            await standby.promote()
            go_on.set()
            # Of the sessions that read, too, each finds out.
            assert (await ended(web, long, waiting.id)).output == 0
            id = await enqueued(web, stepped, 101)
            assert (await ended(web, stepped, id)).output == 101
            for number in range(3, 10):
                id = await enqueued(web, written, number)
                assert (await ended(web, written, id)).output == number
        assert await counted(standby.direct) == 13
        effects = await rows(standby.direct, "select number from effect")
    assert Counter(row["number"] for row in effects) == {
        **dict.fromkeys(range(10), 1),
        **dict.fromkeys([100, 101], 3),
    }


async def enqueued(web: m25.M25, queue: m25.Queue[int, int, Any], number: int) -> m25.JobId:
    """Put a job on its queue, by a session that is let in."""
    job = m25.Job(number, id=m25.JobId(uuid4()))
    with trio.fail_after(PATIENCE):
        while True:
            with contextlib.suppress(m25.errors.EnqueueQueryError):
                return (await web.enqueue(queue, job)).id
            await trio.sleep(0.01)


@contextmanager
def small_disk(path: Path) -> Generator[Path]:
    """A file system of 32 MB."""
    path.mkdir()
    try:
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=32m,mode=700", "m25", str(path)],
            check=True,
            capture_output=True,
        )
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a small disk cannot be mounted here: {error}")
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def fill(path: Path) -> None:
    try:
        with (path / "filler").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(8192))
    except OSError:
        pass


@pytest.mark.slow
async def test_results_wait_while_the_disk_is_full(caplog: pytest.LogCaptureFixture) -> None:
    begun, released, done = trio.Event(), trio.Event(), trio.Event()
    #: Each takes a good deal of the disk.
    outputs = [os.urandom(50_000).hex() for _ in range(10)]
    starts: Counter[int] = Counter()

    @m25.queue("large", poll_interval=0.2, heartbeat_interval=10)
    async def large(number: int) -> str:
        starts[number] += 1
        if starts.total() == 10:
            begun.set()
        await released.wait()
        if number == 9:
            done.set()
        return outputs[number]

    @m25.queue("elsewhere")
    async def elsewhere(text: str) -> None:
        raise AssertionError("nobody serves it")

    async def was_refused() -> bool:
        await trio.lowlevel.checkpoint()
        return "DatabaseFailing" in told(caplog)

    async with serving(autovacuum="off") as server:
        with small_disk(server.home.with_name("disk")) as disk:
            hand_over(disk, like=server.home / "data")
            await rows(server.direct, f"create tablespace small location '{disk}'")
            await rows(server.direct, "create database crowded tablespace small")
            dsn = make_conninfo(server.direct, dbname="crowded")
            async with await m25.pg.AsyncConnection.connect(dsn, autocommit=True) as admin:
                await m25.migrations.apply(admin, "m25")
            async with m25.open(dsn) as m:
                m.add_queue(large)
                await m.start()
                records = [await m.enqueue(large, number) for number in range(10)]
                await begun.wait()
                fill(disk)
                with pytest.raises(m25.errors.JobRecordFetchQueryError) as error:
                    while True:
                        await m.enqueue(elsewhere, os.urandom(50_000).hex())
                assert isinstance(error.value.__cause__, psycopg.errors.DiskFull)
                released.set()
                await done.wait()
                await eventually(was_refused)
                assert await counted(dsn) < 10
                (disk / "filler").unlink()
                back_at = trio.current_time()
                for number, record in enumerate(records):
                    assert (await ended(m, large, record.id)).output == outputs[number]
                assert trio.current_time() - back_at < RESUMED
    assert set(starts.values()) == {1}


@pytest.mark.slow
async def test_a_server_that_has_no_connection_left_is_waited_for() -> None:
    begun, released = trio.Event(), trio.Event()

    @m25.queue("patient", poll_interval=0.2, heartbeat_interval=10)
    async def patient(number: int) -> int:
        begun.set()
        await released.wait()
        return number

    async with serving(max_connections="10", reserved_connections="0") as server:
        async with AsyncExitStack() as others, m25.open(server.dsn) as m:
            m.add_queue(patient)
            await m.start()
            record = await m.enqueue(patient, 1)
            await begun.wait()
            keeper = await others.enter_async_context(
                await m25.pg.AsyncConnection.connect(server.direct, autocommit=True)
            )

            async def ours() -> int:
                """End m25's connections, and take the places of all."""
                cursor = await keeper.execute(
                    "select count(pg_terminate_backend(pid)) from pg_stat_activity"
                    " where backend_type = 'client backend'"
                    " and application_name is distinct from 'other' and pid <> pg_backend_pid()"
                )
                (number,) = await cursor.fetchone() or (0,)
                with contextlib.suppress(psycopg.OperationalError):
                    while True:
                        connection = await m25.pg.AsyncConnection.connect(
                            server.direct, application_name="other"
                        )
                        await others.enter_async_context(connection)
                return int(number)

            await eventually(lambda: none(ours()))
            released.set()
            with pytest.raises(psycopg.OperationalError, match="too many clients"):
                await m25.pg.AsyncConnection.connect(server.direct)
            before = server.proxy.connections
            await eventually(lambda: more(server.proxy, before + 2))
            await others.aclose()
            back_at = trio.current_time()
            assert (await ended(m, patient, record.id)).output == 1
            assert trio.current_time() - back_at < RESUMED


@pytest.mark.slow
@pytest.mark.parametrize("allowed_losses", [3, 0])
async def test_a_job_begins_while_its_claim_is_committed_unless_it_may_start_only_once(
    allowed_losses: int,
) -> None:
    begun = trio.Event()

    @m25.queue("eager", allowed_losses=allowed_losses)
    async def eager(number: int) -> int:
        begun.set()
        return number

    async with (
        serving() as server,
        await m25.pg.AsyncConnection.connect(server.direct, autocommit=True) as admin,
        m25.open(server.dsn) as m,
    ):
        m.add_queue(eager)
        await m.start()

        async def see(setting: str) -> None:
            await admin.execute("select pg_reload_conf()")

            async def is_seen() -> bool:
                (row,) = await rows(server.direct, "show synchronous_standby_names")
                return bool(row["synchronous_standby_names"] == setting)

            await eventually(is_seen)

        async def is_waiting() -> bool:
            statement = "select 1 from pg_stat_activity where wait_event = 'SyncRep'"
            return bool(await (await admin.execute(statement.encode())).fetchall())

        # From now on no commit is answered: each waits for a standby that there is not; but ours.
        await admin.execute("alter system set synchronous_standby_names = 'nobody'")
        await see("nobody")
        await admin.execute("set synchronous_commit = local")
        record = await m.enqueue(eager, 25, connection=admin)
        await eventually(is_waiting)
        if allowed_losses:
            await begun.wait()
        else:
            await trio.testing.wait_all_tasks_blocked()
            assert not begun.is_set()
        (row,) = await rows(server.direct, "select status from m25.job")
        assert row["status"] == "pending"
        await admin.execute("alter system reset synchronous_standby_names")
        await see("")
        assert (await ended(m, eager, record.id)).output == 25


async def none(number: Awaitable[int]) -> bool:
    return await number == 0


async def more(proxy: Proxy, connections: int) -> bool:
    await trio.lowlevel.checkpoint()
    return proxy.connections >= connections
