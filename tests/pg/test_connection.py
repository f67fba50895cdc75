"""What a connection promises beyond psycopg's own: Trio's rules."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any, ClassVar

import psycopg
import pytest
import trio
import trio.testing
from psycopg import generators
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.copy import AsyncQueuedLibpqWriter

from m25 import pg
from m25.pg._background import Background
from m25.pg._hosts import attempts, note_silent
from support.poolers import greeted_by_another
from support.proxy import proxied
from support.waiting import PATIENCE


@pytest.fixture
async def connection(empty_dsn: str) -> Any:
    async with await pg.AsyncConnection.connect(empty_dsn, autocommit=True) as connection:
        yield connection


async def test_outside_trio_it_says_so(empty_dsn: str) -> None:
    def in_asyncio() -> None:
        asyncio.run(pg.AsyncConnection.connect(empty_dsn))

    with pytest.raises(RuntimeError, match="in a Trio task only"):
        await trio.to_thread.run_sync(in_asyncio)


def test_it_works_in_guest_mode(empty_dsn: str) -> None:
    async def guest() -> Any:
        async with await pg.AsyncConnection.connect(empty_dsn) as connection:
            return await (await connection.execute("select 42")).fetchone()

    async def host() -> Any:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Any] = loop.create_future()
        trio.lowlevel.start_guest_run(
            guest,
            run_sync_soon_threadsafe=loop.call_soon_threadsafe,
            done_callback=done.set_result,
        )
        return (await done).unwrap()

    assert asyncio.run(host()) == (42,)


async def test_no_thread_is_in_the_path_of_a_query(
    connection: pg.AsyncConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*args: object, **kwargs: object) -> None:
        pytest.fail("a thread was asked for")

    monkeypatch.setattr(trio.to_thread, "run_sync", refuse)
    await connection.execute("select 1")
    if psycopg.pq.version() >= 170000:
        # Before, libpq can cancel blocking only.
        with trio.move_on_after(0.01):
            await connection.execute("select pg_sleep(600)")
    async with connection.cursor().copy("copy (select 1) to stdout") as copy:
        assert [bytes(row) async for row in copy] == [b"1\n"]


async def test_every_operation_is_a_checkpoint(connection: pg.AsyncConnection) -> None:
    with trio.testing.assert_checkpoints():
        await connection.execute("select 1")
    with trio.testing.assert_checkpoints():
        await connection.commit()
    with trio.testing.assert_checkpoints():
        await connection.set_autocommit(False)
    with trio.testing.assert_checkpoints():
        async with connection.transaction():
            pass
    with trio.testing.assert_checkpoints():
        await connection.close()


@pytest.mark.parametrize("fetch", ["fetchone", "fetchmany", "fetchall", "__anext__"])
async def test_a_fetch_can_be_cancelled_though_nothing_is_waited_for(
    connection: pg.AsyncConnection, fetch: str
) -> None:
    cursor = await connection.execute("select generate_series(1, 10)")
    with trio.CancelScope() as scope:
        scope.cancel()
        await getattr(cursor, fetch)()
    assert scope.cancelled_caught
    assert await cursor.fetchone() == (1,)


async def test_reading_what_has_arrived_lets_other_tasks_run(
    connection: pg.AsyncConnection,
) -> None:
    cursor = await connection.execute("select generate_series(1, 200000)")
    turns = 0

    async def another() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(another)
        began = time.monotonic()
        async for _ in cursor:
            pass
        took = time.monotonic() - began
        nursery.cancel_scope.cancel()
    # At least every 5 milliseconds, and it may be that somebody held up both.
    assert turns >= min(3, took / 0.05)


async def test_nothing_is_sent_for_a_task_that_is_cancelled(
    connection: pg.AsyncConnection,
) -> None:
    await connection.execute("create table t (n int)")
    with trio.CancelScope() as scope:
        scope.cancel()
        await connection.execute("insert into t values (1)")
    assert await (await connection.execute("select count(*) from t")).fetchone() == (0,)


async def test_a_cancelled_query_is_cancelled_on_the_server_and_the_connection_usable(
    connection: pg.AsyncConnection,
) -> None:
    with trio.move_on_after(0.05) as scope:
        await connection.execute("select pg_sleep(600)")
    assert scope.cancelled_caught
    assert await (await connection.execute("select 1")).fetchone() == (1,)


async def test_a_server_that_does_not_answer_has_a_cancelled_connection_closed(
    empty_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("m25.pg._wire.CLEAN_UP", 0.2)
    async with proxied(empty_dsn) as proxy:
        connection = await pg.AsyncConnection.connect(proxy.dsn)
        proxy.hold()
        scope = trio.CancelScope()

        async def cancel() -> None:
            # The query is sent, and waited for.
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(cancel)
            with scope:
                await connection.execute("select 1")
        assert scope.cancelled_caught
        assert connection.closed
        assert connection.broken


async def test_what_is_raised_in_a_block_comes_out_of_it_unchanged(
    connection: pg.AsyncConnection,
) -> None:
    group = ExceptionGroup("ours", [KeyError("a"), ExceptionGroup("inner", [ValueError("b")])])
    with pytest.raises(ExceptionGroup) as caught:
        async with connection.transaction():
            await connection.execute("select 1")
            raise group
    assert caught.value is group
    with pytest.raises(KeyboardInterrupt):
        async with connection.transaction(), connection.transaction():
            raise KeyboardInterrupt
    assert await (await connection.execute("select 1")).fetchone() == (1,)


async def test_an_interrupt_in_a_query_passes_and_the_connection_is_usable(
    connection: pg.AsyncConnection,
) -> None:
    def interrupted() -> Any:
        connection.pgconn.send_query(b"select pg_sleep(600)")
        raise KeyboardInterrupt
        yield

    with pytest.raises(KeyboardInterrupt):
        async with connection.lock:
            await connection.wait(interrupted())
    assert await (await connection.execute("select 1")).fetchone() == (1,)


async def test_tasks_that_share_a_connection_take_turns_in_order(
    connection: pg.AsyncConnection,
) -> None:
    order: list[int] = []

    async def ask(number: int) -> None:
        cursor = await connection.execute("select %s::int", [number])
        order.append(number)
        assert await cursor.fetchone() == (number,)

    async with trio.open_nursery() as nursery:
        async with connection.lock:
            for number in range(50):
                nursery.start_soon(ask, number)
                # Each has come to wait before the next begins.
                await trio.testing.wait_all_tasks_blocked()
    assert order == list(range(50))


async def test_one_that_gives_up_its_place_is_not_given_the_turn(
    connection: pg.AsyncConnection,
) -> None:
    async with trio.open_nursery() as nursery:
        async with connection.lock:
            with trio.move_on_after(0.01) as scope:
                await connection.execute("select 1")
            assert scope.cancelled_caught
            nursery.start_soon(connection.execute, "select 2")
            await trio.testing.wait_all_tasks_blocked()
    assert not connection.lock.locked()


async def test_a_transaction_cancelled_on_its_way_out_is_rolled_back(
    connection: pg.AsyncConnection,
) -> None:
    await connection.execute("create table t (n int)")
    with trio.CancelScope() as scope:
        async with connection.transaction():
            await connection.execute("insert into t values (1)")
            scope.cancel()
    assert scope.cancelled_caught
    assert connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
    assert await (await connection.execute("select count(*) from t")).fetchone() == (0,)


async def test_a_stream_left_without_closing_it_is_ended_for_the_next(
    connection: pg.AsyncConnection,
) -> None:
    async with aclosing(connection.cursor().stream("select generate_series(1, 1000000)")) as rows:
        assert await anext(rows) == (1,)
    assert await (await connection.execute("select 1")).fetchone() == (1,)


@pytest.mark.parametrize("how", ["break", "cancelled", "stop_after", "timeout"])
async def test_notifies_that_is_left_early_keeps_what_came_for_the_next_time(
    connection: pg.AsyncConnection, how: str
) -> None:
    await connection.execute("listen news")
    # They come in one packet.
    await connection.execute("select pg_notify('news', n::text) from generate_series(1, 20) as n")
    heard: list[str] = []
    with trio.fail_after(PATIENCE):
        while len(heard) < 20:
            with trio.CancelScope() as scope:
                given: dict[str, Any] = {"stop_after": {"stop_after": 3}, "timeout": {"timeout": 0}}
                async with aclosing(connection.notifies(**given.get(how, {}))) as notices:
                    async for notice in notices:
                        heard.append(notice.payload)
                        if how == "break" and len(heard) % 3 == 0:
                            break
                        if how == "cancelled" and len(heard) % 3 == 0:
                            scope.cancel()
                        if len(heard) == 20:
                            break
    assert heard == [str(n) for n in range(1, 21)]


@pytest.mark.filterwarnings("ignore:notify handlers:RuntimeWarning")
async def test_a_handler_and_notifies_both_hear_of_everything(
    connection: pg.AsyncConnection, empty_dsn: str
) -> None:
    called: list[str] = []
    connection.add_notify_handler(lambda notice: called.append(notice.payload))
    await connection.execute("listen news")
    async with await pg.AsyncConnection.connect(empty_dsn, autocommit=True) as other:
        await other.execute("select pg_notify('news', n::text) from generate_series(1, 3) as n")
    heard: list[str] = []
    with trio.fail_after(PATIENCE):
        while len(heard) < 3:
            async with aclosing(connection.notifies()) as notices:
                heard.append((await anext(notices)).payload)
    assert heard == called == ["1", "2", "3"]


async def test_closing_wakes_who_waits_and_ends_the_query(
    connection: pg.AsyncConnection, empty_dsn: str
) -> None:
    pid = connection.info.backend_pid

    async def ask() -> None:
        with pytest.raises(psycopg.OperationalError):
            await connection.execute("select pg_sleep(600)")

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            await connection.close()
        async with await pg.AsyncConnection.connect(empty_dsn, autocommit=True) as other:
            query = "select 1 from pg_stat_activity where pid = %s"
            while await (await other.execute(query, [pid])).fetchone():
                pass


async def test_a_writer_that_needs_asyncio_is_refused_in_words(
    connection: pg.AsyncConnection,
) -> None:
    await connection.execute("create table t (n int)")
    cursor = connection.cursor()
    with pytest.raises(psycopg.NotSupportedError, match="asyncio task"):
        async with cursor.copy("copy t from stdin", writer=AsyncQueuedLibpqWriter(cursor)):
            pass


@asynccontextmanager
async def deaf_host(clock: trio.testing.MockClock, seconds: float) -> AsyncGenerator[int]:
    """A port at which nothing is said. Time stands still, but for each who comes there so many
    seconds pass.
    """

    async def take(client: trio.SocketStream) -> None:
        async with client:
            # What it has to say, it has said.
            await client.receive_some()
            await trio.testing.wait_all_tasks_blocked()
            clock.jump(seconds)
            await trio.sleep_forever()

    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, take, [listener])
        yield listener.socket.getsockname()[1]
        nursery.cancel_scope.cancel()


async def test_each_host_has_its_own_time_to_connect(
    empty_dsn: str, mock_clock: trio.testing.MockClock
) -> None:
    async with deaf_host(mock_clock, 2) as deaf, proxied(empty_dsn) as proxy:
        port = proxy.dsn.split("port=")[1].split()[0]
        several = make_conninfo(
            proxy.dsn, host="127.0.0.1,127.0.0.1", port=f"{deaf},{port}", connect_timeout=2
        )
        began = trio.current_time()
        async with await pg.AsyncConnection.connect(several) as connection:
            assert connection.info.port == int(port)
        assert trio.current_time() - began == 2


async def test_silent_hosts_leave_time_for_those_after_them(
    empty_dsn: str, monkeypatch: pytest.MonkeyPatch, mock_clock: trio.testing.MockClock
) -> None:
    monkeypatch.setattr(pg.AsyncConnection, "liveness", {"connect_timeout": "6"})
    async with deaf_host(mock_clock, 2) as deaf, proxied(empty_dsn) as proxy:
        port = proxy.dsn.split("port=")[1].split()[0]
        several = make_conninfo(
            proxy.dsn, host="127.0.0.1,127.0.0.1,127.0.0.1", port=f"{deaf},{deaf},{port}"
        )
        # Two hosts take two seconds each; if each had all of the time, the first would take six.
        began = trio.current_time()
        async with await pg.AsyncConnection.connect(several) as connection:
            assert connection.info.port == int(port)
        assert trio.current_time() - began == 4


async def test_a_host_that_was_silent_is_tried_last_for_a_while(
    autojump_clock: trio.testing.MockClock,
) -> None:
    params = {"host": "10.0.0.1,10.0.0.2,10.0.0.3", "port": "5432"}
    first, second, third = await attempts(params)
    note_silent(first)
    assert await attempts(params) == [second, third, first]
    note_silent(second)
    assert await attempts(params) == [third, first, second]
    await trio.sleep(30)
    assert await attempts(params) == [first, second, third]


async def test_behind_a_pooler_nothing_is_prepared(empty_dsn: str) -> None:
    async with Background() as nursery:
        there = await greeted_by_another(empty_dsn, nursery)
        for dsn, are_prepared in ((empty_dsn, True), (there, False)):
            async with await pg.AsyncConnection.connect(dsn, autocommit=True) as connection:
                for _ in range(8):
                    await connection.execute("select %s::int", [1])
                await connection.execute("select %s::text", ["a"], prepare=True)
                await connection.cursor().executemany("select %s::int8", [[1], [2]])
                cursor = await connection.execute("select count(*) from pg_prepared_statements")
                assert (await cursor.fetchone() != (0,)) is are_prepared


@pytest.mark.parametrize(
    "refusal",
    [
        "unsupported startup parameter: options",
        "unsupported startup parameter in options: client_connection_check_interval",
        "Feature not supported: RDS Proxy currently doesn't support command-line options.",
        'unrecognized configuration parameter "tcp_user_timeout"',
    ],
)
async def test_a_refusal_of_what_was_added_is_tried_again_without(
    empty_dsn: str, monkeypatch: pytest.MonkeyPatch, refusal: str
) -> None:
    tried: list[object] = []
    connect = generators.connect

    def refuse(conninfo: str) -> Any:
        tried.append(options := conninfo_to_dict(conninfo).get("options"))
        if options is not None:
            raise psycopg.OperationalError(f"connection failed: FATAL:  {refusal}")
        return (yield from connect(conninfo))

    monkeypatch.setattr(generators, "connect", refuse)
    async with await pg.AsyncConnection.connect(empty_dsn) as connection:
        await connection.execute("select 1")
    assert len(tried) == 2
    tried.clear()
    refusal = 'password authentication failed for user "ada"'
    with pytest.raises(psycopg.OperationalError):
        await pg.AsyncConnection.connect(empty_dsn)
    assert len(tried) == 1


async def test_names_are_resolved_by_trio(empty_dsn: str) -> None:
    asked: list[object] = []

    class Resolver(trio.abc.HostnameResolver):
        async def getaddrinfo(self, host: Any, port: Any, *args: Any) -> Any:
            asked.append(host)
            return [(2, 1, 6, "", ("127.0.0.1", 0))]

        async def getnameinfo(self, sockaddr: Any, flags: int) -> Any:
            raise NotImplementedError

    async with proxied(empty_dsn) as proxy:
        trio.socket.set_custom_hostname_resolver(Resolver())
        there = make_conninfo(proxy.dsn, host="database.example")
        async with await pg.AsyncConnection.connect(there) as connection:
            assert connection.info.host == "database.example"
    assert asked == [b"database.example"] or asked == ["database.example"]


async def test_a_connection_finds_out_by_itself_that_its_server_is_gone(empty_dsn: str) -> None:
    async with await pg.AsyncConnection.connect(empty_dsn, autocommit=True) as connection:
        names = list(pg.SERVER_LIVENESS)
        cursor = await connection.execute(
            "select name, setting from pg_settings where name = any(%s)", [names]
        )
        found = dict(await cursor.fetchall())
    expected = dict(pg.SERVER_LIVENESS)
    if "host=/" in empty_dsn or "host='/" in empty_dsn:
        expected = {key: value for key, value in expected.items() if "tcp" not in key}
    assert expected.items() <= found.items()


async def test_what_is_said_of_liveness_is_kept(empty_dsn: str) -> None:
    own = make_conninfo(
        empty_dsn, keepalives_idle=77, options="-c client_connection_check_interval=0"
    )
    async with await pg.AsyncConnection.connect(own) as connection:
        given = connection.info.get_parameters()
        assert given["keepalives_idle"] == "77"
        assert given["tcp_user_timeout"] == pg.LIVENESS["tcp_user_timeout"]
        cursor = await connection.execute("show client_connection_check_interval")
        assert await cursor.fetchone() == ("0",)


async def test_a_server_that_knows_nothing_of_liveness_is_connected_to_without(
    empty_dsn: str,
) -> None:
    class OfTomorrow(pg.AsyncConnection):
        server_liveness: ClassVar[Mapping[str, str]] = {"an_unknown_setting": "1"}

    async with await OfTomorrow.connect(empty_dsn) as connection:
        assert await (await connection.execute("select 1")).fetchone() == (1,)
