"""The database goes away and comes back: nothing ends, nothing is lost, and little is said."""

from __future__ import annotations

import logging
from typing import LiteralString

import psycopg
import pytest
import trio
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

import m25
from support.told import told
from support.waiting import ended, eventually, rows

#: Within five seconds of the database's return, work goes on, where nothing else keeps the machine
#: busy; here other tests do.
RESUMED = 60.0

#: The application name of a session that is not m25's.
OPERATOR = "operator"


class Switch:
    """Takes one database away from everybody, and gives it back."""

    def __init__(self, server: str, dsn: str) -> None:
        self._server = server
        self._name = str(conninfo_to_dict(dsn)["dbname"])

    async def off(self) -> None:
        await self._alter("allow_connections false")
        await self.disconnect()

    async def on(self) -> None:
        await self._alter("allow_connections true")

    async def configure(self, setting: LiteralString) -> None:
        """Change a setting for all who connect from now on; m25's own connections are ended."""
        await self._alter(setting)
        await self.disconnect()

    async def disconnect(self) -> None:
        """End every connection of m25's, those that are just being made among them."""

        async def none_is_entering() -> bool:
            # One that is not let in yet does not say which database it is for.
            return not await rows(
                self._server,
                "select pid from pg_stat_activity"
                " where backend_type = 'client backend' and datname is null",
            )

        await eventually(none_is_entering)
        await rows(
            self._server,
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity"
            " where datname = %(name)s and application_name is distinct from %(operator)s",
            name=self._name,
            operator=OPERATOR,
        )

    async def _alter(self, change: LiteralString) -> None:
        statement = sql.SQL("alter database {} {}").format(
            sql.Identifier(self._name), sql.SQL(change)
        )
        async with await m25.pg.AsyncConnection.connect(self._server, autocommit=True) as admin:
            await admin.execute(statement)


@pytest.fixture
def switch(server: str, dsn: str) -> Switch:
    return Switch(server, dsn)


async def test_results_wait_for_the_database_and_are_written_once_it_is_back(
    dsn: str, switch: Switch, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # How long a worker waits for a connection before it says that there is none.
    monkeypatch.setattr("m25._store.postgres._WORK_TIMEOUT", 1.0)
    begun, go_on, done = trio.Event(), trio.Event(), trio.Event()
    starts: list[int] = []

    @m25.queue("patient", poll_interval=0.2, heartbeat_interval=10)
    async def patient(number: int) -> int:
        starts.append(number)
        if len(starts) == 10:
            begun.set()
        await go_on.wait()
        if number == 9:
            done.set()
        return number

    caplog.set_level(logging.INFO, "m25")
    async with m25.open(dsn) as m:
        m.add_queue(patient)
        await m.start()
        records = [await m.enqueue(patient, number) for number in range(10)]
        await begun.wait()
        caplog.clear()
        await switch.off()
        go_on.set()
        await done.wait()

        async def noticed() -> bool:
            return "DatabaseFailing" in told(caplog)

        await eventually(noticed)
        await switch.on()
        back_at = trio.current_time()
        for number, record in enumerate(records):
            found = await ended(m, patient, record.id)
            assert (found.status, found.output) == (m25.JobStatus.SUCCEEDED, number)
        assert trio.current_time() - back_at < RESUMED
        late = await m.enqueue(patient, 10)
        await ended(m, patient, late.id)
    # Each ran once.
    assert sorted(starts) == list(range(11))
    # Once each, but for a reminder where the machine takes its time.
    assert [event for event in told(caplog) if event != "DatabaseStillFailing"] == [
        "DatabaseFailing",
        "DatabaseAnswers",
    ]


async def test_a_storm_of_terminated_backends_loses_nothing(dsn: str, switch: Switch) -> None:
    @m25.queue(
        "sturdy",
        poll_interval=0.2,
        heartbeat_interval=0.3,
        allowed_heartbeat_misses=99,
        max_concurrency=5,
    )
    async def sturdy(number: int) -> int:
        await trio.sleep(0.02)
        return number

    async def storm() -> None:
        while True:
            await switch.disconnect()
            await trio.sleep(0.1)

    async with m25.open(dsn) as m:
        for number in range(100):
            await m.enqueue(sturdy, number)
        m.add_queue(sturdy)
        await m.start()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(storm)
            await trio.sleep(2)
            nursery.cancel_scope.cancel()

        async def all_succeeded() -> bool:
            found = await rows(dsn, "select count(*) from m25.job where status = 'succeeded'")
            return found[0]["count"] == 100

        await eventually(all_succeeded)
    found = await rows(dsn, "select input, output, status from m25.job order by input")
    assert [row["output"] for row in found] == list(range(100))


async def test_a_client_that_is_left_during_an_outage_ends_in_a_bounded_time(
    dsn: str, switch: Switch, caplog: pytest.LogCaptureFixture
) -> None:
    begun = trio.Event()

    @m25.queue("abandoned", heartbeat_interval=0.2)
    async def abandoned(number: int) -> None:
        begun.set()
        await trio.sleep_forever()

    try:
        async with m25.open(dsn, shutdown_grace=0.1) as m:
            m.add_queue(abandoned)
            await m.start()
            record = await m.enqueue(abandoned, 1)
            await begun.wait()
            await switch.off()
            left_at = trio.current_time()
        assert trio.current_time() - left_at < 30
    finally:
        await switch.on()
    (event,) = [r for r in caplog.records if r.levelno >= logging.ERROR]
    assert event.getMessage() == (
        "database did not take what queue 'abandoned' had left to write; "
        f"leases will end job {record.id}"
    )
    assert event.m25_job_ids == (str(record.id),)


async def test_a_client_that_is_left_during_a_short_outage_writes_what_it_has(
    dsn: str, switch: Switch, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What is short for users may be long on a busy machine.
    monkeypatch.setattr("m25._worker.manager.CLEAN_UP", 60.0)
    begun = trio.Event()

    @m25.queue("abandoned", heartbeat_interval=10)
    async def abandoned(number: int) -> int:
        begun.set()
        await trio.sleep(0.3)
        return number

    async with trio.open_nursery() as nursery:

        async def back_in_a_second() -> None:
            await trio.sleep(1)
            await switch.on()

        async with m25.open(dsn) as m:
            m.add_queue(abandoned)
            await m.start()
            await m.enqueue(abandoned, 1)
            await begun.wait()
            await switch.off()
            nursery.start_soon(back_in_a_second)
    (row,) = await rows(dsn, "select status, output from m25.job")
    assert row == {"status": "succeeded", "output": 1}


async def test_a_client_that_only_enqueues_survives_an_outage(
    dsn: str, switch: Switch, monkeypatch: pytest.MonkeyPatch
) -> None:
    @m25.queue("web")
    async def web(number: int) -> None:
        pass

    async with m25.pg.Pool(dsn) as pool, m25.open(pool) as m:
        await m.enqueue(web, 1)
        await switch.off()
        # How long a call waits for a connection before it says that there is none.
        monkeypatch.setattr(pool, "_timeout", 0.5)
        with pytest.raises(m25.errors.JobRecordFetchQueryError) as error:
            await m.enqueue(web, 2)
        assert isinstance(error.value.__cause__, psycopg.OperationalError)
        await switch.on()

        async def works() -> bool:
            try:
                await m.enqueue(web, 3)
            except m25.errors.JobRecordFetchQueryError:
                return False
            return True

        await eventually(works, RESUMED)
    assert [row["input"] for row in await rows(dsn, "select input from m25.job")] == [1, 3]


async def test_an_enqueue_waits_for_a_database_that_is_soon_back(
    dsn: str, switch: Switch, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What is soon for users may be late on a busy machine.
    monkeypatch.setattr("m25._client._CONNECTION_TIMEOUT", 60.0)

    @m25.queue("web")
    async def web(number: int) -> None:
        pass

    async with m25.open(dsn) as m, trio.open_nursery() as nursery:
        await m.enqueue(web, 1)
        # Its broken connection, found out.
        await switch.off()
        for number in range(2, 12):
            nursery.start_soon(m.enqueue, web, number)
        await trio.sleep(0.7)
        await switch.on()
    assert len(await rows(dsn, "select id from m25.job")) == 11


async def test_queues_can_be_started_during_an_outage_once_it_is_over(
    dsn: str, switch: Switch
) -> None:
    @m25.queue("early", poll_interval=0.2)
    async def early(number: int) -> int:
        return number

    async with m25.open(dsn) as m, trio.open_nursery() as nursery:
        m.add_queue(early)
        await switch.off()
        nursery.start_soon(m.start)
        await trio.sleep(0.5)
        await switch.on()

        async def works() -> bool:
            try:
                record = await m.enqueue(early, 7)
            except m25.errors.JobRecordFetchQueryError:
                return False
            return (await ended(m, early, record.id)).output == 7

        await eventually(works)


@pytest.mark.parametrize(
    "setting",
    [
        "statement_timeout = 1",
        pytest.param("lock_timeout = 1", marks=pytest.mark.slow),
        pytest.param("idle_session_timeout = 1", marks=pytest.mark.slow),
        pytest.param("idle_in_transaction_session_timeout = 1", marks=pytest.mark.slow),
        "default_transaction_read_only = on",
    ],
)
async def test_limits_that_an_operator_sets_for_a_while_end_nothing(
    dsn: str, switch: Switch, setting: str
) -> None:
    begun, go_on = trio.Event(), trio.Event()

    @m25.queue("limited", poll_interval=0.2, heartbeat_interval=10)
    async def limited(number: int) -> int:
        begun.set()
        await go_on.wait()
        return number

    async with m25.open(dsn) as m:
        m.add_queue(limited)
        await m.start()
        record = await m.enqueue(limited, 1)
        await begun.wait()
        async with await m25.pg.AsyncConnection.connect(dsn, application_name=OPERATOR) as locker:
            await locker.execute("lock table m25.job in share row exclusive mode")
            await switch.configure(f"set {setting}")
            go_on.set()
            await trio.sleep(0.7)
            await switch.configure("reset all")
        assert (await ended(m, limited, record.id)).output == 1
