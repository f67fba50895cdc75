"""What a listener promises."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
import trio
import trio.testing
from _until import until
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import dict_row, tuple_row

from m25 import pg
from m25.pg._background import Background
from support.poolers import greeted_by_another
from support.proxy import proxied
from support.waiting import PATIENCE


@pytest.fixture
async def speaker(empty_dsn: str) -> Any:
    async with await pg.AsyncConnection.connect(empty_dsn, autocommit=True) as connection:
        yield connection


async def notify(connection: pg.AsyncConnection, channel: str, *payloads: str) -> None:
    async with connection.transaction():
        for payload in payloads:
            await connection.execute("select pg_notify(%s, %s)", [channel, payload])


async def heard_by(events: trio.MemoryReceiveChannel[pg.Event]) -> pg.Event:
    with trio.fail_after(PATIENCE):
        return await events.receive()


async def test_a_subscriber_hears_what_comes_after_its_gap(
    empty_dsn: str, speaker: pg.AsyncConnection
) -> None:
    async with pg.Listener(empty_dsn) as listener, listener.subscribe("a", "b") as events:
        assert await heard_by(events) == pg.Gap()
        await notify(speaker, "a", "1")
        assert await heard_by(events) == pg.Notification("a", ("1",))
        await notify(speaker, "b", "")
        event = await heard_by(events)
        assert isinstance(event, pg.Notification)
        assert (event.channel, event.payload) == ("b", "")


async def test_who_is_called_hears_each_payload_in_order_and_nothing_after_the_block(
    empty_dsn: str, speaker: pg.AsyncConnection
) -> None:
    heard: list[pg.Event] = []
    async with pg.Listener(empty_dsn) as listener, listener.subscribe("end") as witness:
        assert await heard_by(witness) == pg.Gap()
        with listener._calling(heard.append, "a", "b"):
            await until(lambda: heard == [pg.Gap()])
            await notify(speaker, "a", "1")
            await notify(speaker, "other", "2")
            await notify(speaker, "b", "3", "4")
            await until(lambda: len(heard) == 4)
        await notify(speaker, "a", "5")
        await notify(speaker, "end", "")
        assert await heard_by(witness) == pg.Notification("end", ("",))
    assert heard[1:] == [
        pg.Notification("a", ("1",)),
        pg.Notification("b", ("3",)),
        pg.Notification("b", ("4",)),
    ]


async def test_what_comes_while_it_is_busy_is_kept_as_one(
    empty_dsn: str, speaker: pg.AsyncConnection
) -> None:
    async with (
        pg.Listener(empty_dsn) as listener,
        listener.subscribe("a") as busy,
        listener.subscribe("a", "end") as witness,
    ):
        assert await heard_by(busy) == pg.Gap()
        assert await heard_by(witness) == pg.Gap()
        await notify(speaker, "a", "0")
        assert await heard_by(witness) == pg.Notification("a", ("0",))
        await notify(speaker, "a", *(str(n) for n in range(1, 100)))
        await notify(speaker, "a", "50")
        await notify(speaker, "end", "")
        # The witness has heard it all: so it is there for the other one too.
        while await heard_by(witness) != pg.Notification("end", ("",)):
            pass
        # What was being handed over when the rest came is by itself.
        assert await heard_by(busy) == pg.Notification("a", ("0",))
        event = await heard_by(busy)
        assert isinstance(event, pg.Notification)
        assert sorted(event.payloads, key=int) == [str(n) for n in range(1, 100)]
        assert event.payload == "50"
        with pytest.raises(trio.WouldBlock):
            busy.receive_nowait()


@pytest.mark.parametrize("early", [False, True])
async def test_who_stops_listening_with_something_left_to_hear_harms_nobody(
    empty_dsn: str, speaker: pg.AsyncConnection, early: bool
) -> None:
    async with (
        pg.Listener(empty_dsn) as listener,
        listener.subscribe("a", "end") as witness,
    ):
        assert await heard_by(witness) == pg.Gap()
        async with listener.subscribe("a") as leaving:
            assert await heard_by(leaving) == pg.Gap()
            await notify(speaker, "a", "1", "2", "3")
            while await heard_by(witness) != pg.Notification("end", ("",)):
                await notify(speaker, "end", "")
            if early:
                await leaving.aclose()
                await trio.testing.wait_all_tasks_blocked()
        await notify(speaker, "a", "4")
        while await heard_by(witness) != pg.Notification("a", ("4",)):
            pass


async def test_more_than_is_kept_is_a_gap(empty_dsn: str, speaker: pg.AsyncConnection) -> None:
    async with (
        pg.Listener(empty_dsn) as listener,
        listener.subscribe("a") as busy,
        listener.subscribe("end") as witness,
    ):
        assert await heard_by(busy) == pg.Gap()
        assert await heard_by(witness) == pg.Gap()
        await notify(speaker, "a", "first")
        # The witness has heard of the end: so the first is handed over by itself.
        await notify(speaker, "end", "")
        assert await heard_by(witness) == pg.Notification("end", ("",))
        await notify(speaker, "a", *(str(n) for n in range(1001)))
        await notify(speaker, "end", "")
        assert await heard_by(witness) == pg.Notification("end", ("",))
        assert await heard_by(busy) == pg.Notification("a", ("first",))
        assert await heard_by(busy) == pg.Gap()


async def test_after_a_reconnection_there_is_a_gap(
    empty_dsn: str, speaker: pg.AsyncConnection
) -> None:
    async with (
        proxied(empty_dsn) as proxy,
        pg.Listener(proxy.dsn) as listener,
        listener.subscribe("a") as events,
    ):
        assert await heard_by(events) == pg.Gap()
        assert listener.connected
        await proxy.cut()
        assert await heard_by(events) == pg.Gap()
        await notify(speaker, "a", "1")
        assert await heard_by(events) == pg.Notification("a", ("1",))


async def test_a_half_open_link_is_found_out(
    empty_dsn: str, speaker: pg.AsyncConnection, mock_clock: trio.testing.MockClock
) -> None:
    async with (
        proxied(empty_dsn) as proxy,
        pg.Listener(proxy.dsn, ping_interval=30, ping_timeout=5) as listener,
        listener.subscribe("a") as events,
    ):
        assert await heard_by(events) == pg.Gap()
        # One ping has come back: so this link is known to work.
        await notify(speaker, "a", "1")
        assert await heard_by(events) == pg.Notification("a", ("1",))
        before = proxy.connections
        proxy.hold()
        began = trio.current_time()
        while listener.connected:
            mock_clock.jump(1)
            await trio.testing.wait_all_tasks_blocked()
        # A silence, a ping without an answer, and an end of that without one.
        assert trio.current_time() - began < 30 + 5 + PATIENCE + 5
        proxy.release()
        # It waits before it tries again.
        mock_clock.jump(2)
        assert await heard_by(events) == pg.Gap()
        assert proxy.connections > before
        await notify(speaker, "a", "2")
        assert await heard_by(events) == pg.Notification("a", ("2",))
        assert not listener.silent


async def test_silent_listening_is_found_out_and_said_once(
    empty_dsn: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    mock_clock: trio.testing.MockClock,
) -> None:
    notified = trio.Event()
    # A transaction pooler takes LISTEN, and hands what is heard to nobody.
    execute = pg.AsyncConnection.execute

    async def execute_without_listening(self: Any, query: Any, *args: Any, **kwargs: Any) -> Any:
        cursor = await execute(self, query, *args, **kwargs)
        await execute(self, "unlisten *")
        if "pg_notify" in query.as_string(None):
            notified.set()
        return cursor

    monkeypatch.setattr(pg.AsyncConnection, "execute", execute_without_listening)
    async with (
        pg.Listener(empty_dsn, ping_timeout=5) as listener,
        listener.subscribe("a") as events,
    ):
        assert await heard_by(events) == pg.Gap()
        await notified.wait()
        await trio.testing.wait_all_tasks_blocked()
        assert not listener.silent
        mock_clock.jump(5)
        assert await heard_by(events) == pg.Gap()
        assert listener.silent
        assert listener.connected
        warnings = [each for each in caplog.records if each.name == "m25.pg.listener"]
        assert len(warnings) == 1
        assert "pooler" in warnings[0].getMessage()
        # And that it is over is found out too.
        monkeypatch.undo()
        async with listener.subscribe("b") as others:
            assert await heard_by(others) == pg.Gap()


async def test_behind_a_pooler_that_leaves_each_client_its_session_it_hears_all(
    empty_dsn: str, speaker: pg.AsyncConnection
) -> None:
    async with (
        Background() as nursery,
        pg.Listener(await greeted_by_another(empty_dsn, nursery)) as listener,
        listener.subscribe("a") as events,
    ):
        # The first says that it is connected, the second that the channel is listened to.
        assert [await heard_by(events) for _ in range(2)] == [pg.Gap(), pg.Gap()]
        assert not listener.silent
        await notify(speaker, "a", "1")
        assert await heard_by(events) == pg.Notification("a", ("1",))


async def test_behind_a_pooler_that_shares_sessions_nobody_is_left_with_its_channels(
    empty_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute = pg.AsyncConnection.execute
    listened: list[str] = []

    async def execute_elsewhere(self: Any, query: Any, *args: Any, **kwargs: Any) -> Any:
        cursor = await execute(self, query, *args, **kwargs)
        found = await execute(self, "select pg_listening_channels()")
        listened.extend(channel for (channel,) in await found.fetchall())
        await execute(self, "unlisten *")
        return cursor

    monkeypatch.setattr(pg.AsyncConnection, "execute", execute_elsewhere)
    async with (
        Background() as nursery,
        pg.Listener(await greeted_by_another(empty_dsn, nursery), ping_timeout=0.5) as listener,
        listener.subscribe("a") as events,
    ):
        assert [await heard_by(events) for _ in range(2)] == [pg.Gap(), pg.Gap()]
        assert listener.silent
        async with listener.subscribe("b") as others:
            assert await heard_by(others) == pg.Gap()
    assert {name.partition("_")[0] for name in listened} == {"m25"}


async def test_channels_come_and_go(empty_dsn: str, speaker: pg.AsyncConnection) -> None:
    async with pg.Listener(empty_dsn) as listener, listener.subscribe("a") as first:
        assert await heard_by(first) == pg.Gap()
        for _ in range(20):
            async with listener.subscribe("a", "b") as second:
                assert await heard_by(second) == pg.Gap()
                await notify(speaker, "b", "x")
                assert await heard_by(second) == pg.Notification("b", ("x",))
        await notify(speaker, "b", "y")
        await notify(speaker, "a", "z")
        # No gap of the others', and nothing of their channel.
        assert await heard_by(first) == pg.Notification("a", ("z",))


async def test_any_name_that_postgres_allows_will_do(
    empty_dsn: str, speaker: pg.AsyncConnection
) -> None:
    names = ['we"ird; drop', "Groß", "x" * 63, "a b", "%s"]
    async with pg.Listener(empty_dsn) as listener, listener.subscribe(*names) as events:
        assert await heard_by(events) == pg.Gap()
        for name in names:
            await notify(speaker, name, "p")
            assert await heard_by(events) == pg.Notification(name, ("p",))
        for name in ("", "x" * 64, "a\0b"):
            with pytest.raises(ValueError, match="channel"):
                async with listener.subscribe(name):
                    pass


async def test_leaving_ends_its_channels(empty_dsn: str) -> None:
    async with trio.open_nursery() as nursery:
        left = trio.Event()

        async def subscribe(task_status: trio.TaskStatus[None]) -> None:
            async with listener.subscribe("a") as events:
                task_status.started()
                async for _ in events:
                    pass
            left.set()

        async with pg.Listener(empty_dsn) as listener:
            await nursery.start(subscribe)
        with trio.fail_after(PATIENCE):
            await left.wait()
    with pytest.raises(RuntimeError):
        async with listener.subscribe("a"):
            pass


async def test_what_is_raised_in_its_blocks_comes_out_unchanged(empty_dsn: str) -> None:
    error = ExceptionGroup("ours", [KeyError("a")])
    with pytest.raises(ExceptionGroup) as caught:
        async with pg.Listener(empty_dsn) as listener, listener.subscribe("a"):
            raise error
    assert caught.value is error


async def test_it_needs_no_server_to_begin_and_goes_on_trying(empty_dsn: str) -> None:
    async with proxied(empty_dsn) as proxy:
        proxy.refuses = True
        async with pg.Listener(proxy.dsn) as listener, listener.subscribe("a") as events:
            with trio.move_on_after(0.2) as scope:
                await events.receive()
            assert scope.cancelled_caught
            proxy.refuses = False
            assert await heard_by(events) == pg.Gap()


async def test_a_listener_from_a_pool_connects_as_the_pool_does(
    empty_dsn: str, speaker: pg.AsyncConnection
) -> None:
    params = conninfo_to_dict(empty_dsn)
    configured: list[Any] = []

    class Mine(pg.AsyncConnection[Any]):
        @classmethod
        async def connect(cls, *args: Any, **kwargs: Any) -> Any:
            # As where the password comes from somewhere else.
            return await super().connect(*args, **kwargs, password=params["password"])

    async def configure(connection: Mine) -> None:
        configured.append(connection)

    public = {key: value for key, value in params.items() if key not in ("password", "dbname")}
    kwargs = {
        "dbname": params["dbname"],
        "row_factory": dict_row,
        "cursor_factory": pg.AsyncRawCursor,
        "application_name": "a pool's",
    }
    async with (
        pg.Pool(
            make_conninfo("", **public),
            connection_class=Mine,
            kwargs=kwargs,
            configure=configure,
        ) as pool,
        pg.Listener.from_pool(pool) as listener,
        listener.subscribe("a") as events,
    ):
        assert await heard_by(events) == pg.Gap()
        await notify(speaker, "a", "1")
        assert await heard_by(events) == pg.Notification("a", ("1",))
        (connection,) = configured
        assert isinstance(connection, Mine)
        assert connection.info.parameter_status("application_name") == "a pool's"
        assert pool.stats().size == 0
        async with await pool.connect(autocommit=True, row_factory=tuple_row) as own:
            assert await (await own.execute("show application_name")).fetchone() == ("a pool's",)


async def test_a_hook_that_fails_is_tried_again_by_a_listener(
    empty_dsn: str, speaker: pg.AsyncConnection
) -> None:
    tries = 0

    async def configure(connection: pg.AsyncConnection) -> None:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise KeyError

    async with (
        pg.Pool(empty_dsn, configure=configure) as pool,
        pg.Listener.from_pool(pool) as listener,
        listener.subscribe("a") as events,
    ):
        assert await heard_by(events) == pg.Gap()
    assert tries == 3


async def test_its_backend_terminated_it_listens_again(
    empty_dsn: str, speaker: psycopg.AsyncConnection
) -> None:
    async with pg.Listener(empty_dsn) as listener, listener.subscribe("a") as events:
        assert await heard_by(events) == pg.Gap()
        for _ in range(3):
            await speaker.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where datname = current_database() and pid <> pg_backend_pid()"
                " and backend_type = 'client backend'"
            )
            assert await heard_by(events) == pg.Gap()


async def test_it_leaves_a_server_that_takes_no_writes_any_more(
    empty_dsn: str, speaker: pg.AsyncConnection
) -> None:
    opened: list[pg.AsyncConnection] = []

    async def note(connection: pg.AsyncConnection) -> None:
        opened.append(connection)

    async with (
        pg.Pool(empty_dsn, configure=note) as pool,
        pg.Listener.from_pool(pool, ping_interval=0.1) as listener,
        listener.subscribe("a") as events,
    ):
        assert await heard_by(events) == pg.Gap()
        # As a former primary says it to the sessions that it has kept, when they ask next.
        await opened[0].execute("set default_transaction_read_only = on")
        assert await heard_by(events) == pg.Gap()
        await notify(speaker, "a", "1")
        assert await heard_by(events) == pg.Notification("a", ("1",))
        assert len(opened) == 2
