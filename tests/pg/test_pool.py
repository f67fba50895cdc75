"""What a pool promises."""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from contextlib import AsyncExitStack
from typing import Any

import psycopg
import pytest
import trio
import trio.testing
from _until import until
from psycopg.conninfo import make_conninfo
from psycopg.rows import DictRow, dict_row

from m25 import pg
from support.proxy import proxied
from support.waiting import PATIENCE


async def test_entering_needs_no_server() -> None:
    async with pg.Pool("host=127.0.0.1 port=1") as pool:
        assert pool.stats().size == 0


async def test_an_address_that_is_wrong_from_the_start_is_told_at_once() -> None:
    with trio.fail_after(PATIENCE):
        async with pg.Pool("host=127.0.0.1 port=1", timeout=600) as pool:
            with pytest.raises(psycopg.OperationalError, match="refused"):
                async with pool.connection():
                    pass
            assert pool.stats().failed >= 1


async def test_waiting_for_the_server_is_patient_and_bounded(empty_dsn: str) -> None:
    async with proxied(empty_dsn) as proxy:
        proxy.refuses = True
        async with pg.Pool(proxy.dsn) as pool:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(pool.wait)
                await until(lambda: pool.stats().failed > 0)
                nursery.cancel_scope.cancel()
            with pytest.raises(pg.PoolTimeout) as caught:
                await pool.wait(timeout=0.3)
            assert isinstance(caught.value.__cause__, psycopg.OperationalError)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(pool.wait)
                await trio.testing.wait_all_tasks_blocked()
                proxy.refuses = False
            assert pool.stats().idle == 1


async def test_a_storm_is_served_in_order(empty_dsn: str) -> None:
    served: list[int] = []
    at_once: Counter[int] = Counter()

    async def ask(number: int, pool: pg.Pool) -> None:
        async with pool.connection() as connection:
            served.append(number)
            at_once["now"] += 1
            at_once["most"] = max(at_once["most"], at_once["now"])
            cursor = await connection.execute("select %s::int", [number])
            assert await cursor.fetchone() == (number,)
            at_once["now"] -= 1

    async with pg.Pool(empty_dsn, max_size=5) as pool, AsyncExitStack() as stack:
        all_five = [await stack.enter_async_context(pool.connection()) for _ in range(5)]
        assert len({c.info.backend_pid for c in all_five}) == 5
        async with trio.open_nursery() as nursery:
            for number in range(1000):
                nursery.start_soon(ask, number, pool)
                # Each is in line before the next comes.
                while pool.stats().waiting <= number:
                    await trio.lowlevel.checkpoint()
            await stack.aclose()
        # Those who are served at the same time run in an order that is Trio's to choose.
        assert all(abs(place - number) < 5 for place, number in enumerate(served))
        assert at_once["most"] <= 5
        stats = pool.stats()
        assert (stats.size, stats.idle, stats.waiting) == (5, 5, 0)
        assert stats.lent == 1005
        assert stats.opened == 5


async def test_who_waits_too_long_is_told(empty_dsn: str) -> None:
    async with pg.Pool(empty_dsn, max_size=1) as pool, pool.connection():
        with pytest.raises(pg.PoolTimeout, match=r"within 0\.05 s"):
            async with pool.connection(timeout=0.05):
                pass
        assert pool.stats().waiting == 0


async def test_a_transaction_is_committed_at_the_end(empty_dsn: str) -> None:
    async with pg.Pool(empty_dsn, max_size=1) as pool:
        async with pool.connection() as connection:
            await connection.execute("create table t (n int)")
            await connection.execute("insert into t values (1)")
        with pytest.raises(KeyError):
            async with pool.connection() as connection:
                await connection.execute("insert into t values (2)")
                raise KeyError
        async with pool.connection() as connection:
            assert await (await connection.execute("select n from t")).fetchall() == [(1,)]
        assert pool.stats().opened == 1


async def test_a_connection_the_server_has_closed_is_replaced(empty_dsn: str) -> None:
    async with (
        pg.Pool(empty_dsn, kwargs={"autocommit": True}) as pool,
        await pg.AsyncConnection.connect(empty_dsn, autocommit=True) as other,
    ):
        async with pool.connection() as connection:
            first = connection.info.backend_pid
            fileno = connection.fileno()
        await other.execute("select pg_terminate_backend(%s)", [first])
        await trio.lowlevel.wait_readable(fileno)
        async with pool.connection() as connection:
            assert connection.info.backend_pid != first
            await connection.execute("select 1")
        assert pool.stats().discarded == 1


async def test_a_session_of_a_server_that_takes_no_writes_any_more_is_not_lent_again(
    empty_dsn: str,
) -> None:
    async with pg.Pool(empty_dsn, kwargs={"autocommit": True}) as pool:
        async with pool.connection() as connection:
            # As a former primary says it to the sessions that it has kept, when they ask next.
            await connection.execute("set default_transaction_read_only = on")
        async with pool.connection() as connection:
            await connection.execute("create table t (n int)")
        assert pool.stats().discarded == 1


async def test_sessions_that_were_to_read_alone_from_the_start_are_kept(empty_dsn: str) -> None:
    kwargs = {"autocommit": True, "options": "-c default_transaction_read_only=on"}
    async with pg.Pool(empty_dsn, kwargs=kwargs) as pool:
        for _ in range(3):
            async with pool.connection() as connection:
                await connection.execute("select 1")
        assert pool.stats().opened == 1


async def test_a_connection_in_doubt_is_not_lent_again(empty_dsn: str) -> None:
    async with pg.Pool(empty_dsn, max_size=1) as pool:
        for leave_in_doubt in (_closed, _streaming, _in_pipeline_mode):
            before = pool.stats().discarded
            async with AsyncExitStack() as stack:
                with pytest.raises((KeyError, psycopg.Error)):
                    async with pool.connection() as connection:
                        await leave_in_doubt(connection, stack)
                        raise KeyError
                assert pool.stats().discarded == before + 1
                async with pool.connection() as connection:
                    cursor = await connection.execute("select 1")
                    assert await cursor.fetchone() == (1,)


async def _closed(connection: pg.AsyncConnection, stack: AsyncExitStack) -> None:
    await connection.close()


async def _streaming(connection: pg.AsyncConnection, stack: AsyncExitStack) -> None:
    rows = connection.cursor().stream("select generate_series(1, 1000000)")
    stack.push_async_callback(rows.aclose)  # type: ignore[attr-defined]
    await anext(rows)


async def _in_pipeline_mode(connection: pg.AsyncConnection, stack: AsyncExitStack) -> None:
    connection.pgconn.enter_pipeline_mode()


async def test_what_is_given_back_in_use_is_said_to_be_uncommitted(empty_dsn: str) -> None:
    async with pg.Pool(empty_dsn) as pool, AsyncExitStack() as stack:
        with pytest.raises(psycopg.ProgrammingError, match="aclosing"):
            async with pool.connection() as connection:
                await _streaming(connection, stack)


async def test_a_waiter_that_gives_up_loses_no_connection(empty_dsn: str) -> None:
    async with pg.Pool(empty_dsn, max_size=1) as pool:
        for _ in range(20):
            async with trio.open_nursery() as nursery:
                with trio.CancelScope() as scope:
                    async with pool.connection():
                        nursery.start_soon(_borrow, pool)
                        nursery.start_soon(_borrow, pool, scope)
                        await trio.testing.wait_all_tasks_blocked()
                nursery.cancel_scope.cancel()
            assert pool.stats().waiting == 0
        async with pool.connection():
            assert pool.stats().size == 1


async def _borrow(pool: pg.Pool, _: object = None) -> None:
    async with pool.connection():
        pass


async def test_connections_are_opened_when_needed_and_closed_when_idle(empty_dsn: str) -> None:
    async with pg.Pool(empty_dsn, min_size=1, max_size=3, max_idle=0.05) as pool:
        await pool.wait()
        assert pool.stats().opened == 1
        async with pool.connection(), pool.connection(), pool.connection():
            assert pool.stats().size == 3
        await until(lambda: pool.stats().size == 1)
        assert pool.stats().discarded == 2


async def test_a_connection_is_replaced_after_its_lifetime(empty_dsn: str) -> None:
    async with pg.Pool(empty_dsn, max_size=1, max_lifetime=0.05) as pool:
        pids: set[int] = set()
        with trio.fail_after(PATIENCE):
            while len(pids) < 3:
                async with pool.connection() as connection:
                    pids.add(connection.info.backend_pid)
                await trio.sleep(0.01)


async def test_lifetimes_differ_so_that_connections_do_not_end_together(empty_dsn: str) -> None:
    async with pg.Pool(empty_dsn, max_size=5) as pool, AsyncExitStack() as stack:
        for _ in range(5):
            await stack.enter_async_context(pool.connection())
        assert len({pooled.expires_at for pooled in pool._lent}) == 5


async def test_hooks_see_each_connection(empty_dsn: str) -> None:
    seen: list[str] = []

    async def configure(connection: pg.AsyncConnection) -> None:
        seen.append("configure")
        await connection.execute("set application_name to 'configured'")
        await connection.commit()

    async def reset(connection: pg.AsyncConnection) -> None:
        seen.append("reset")
        await connection.execute("reset all")
        await connection.commit()

    async with pg.Pool(empty_dsn, max_size=1, configure=configure, reset=reset) as pool:
        for _ in range(2):
            async with pool.connection() as connection:
                await connection.execute("set work_mem to '1MB'")
                await connection.commit()
        async with pool.connection() as connection:
            assert await (await connection.execute("show work_mem")).fetchone() != ("1MB",)
    assert seen == ["configure", "reset", "reset", "reset"]


async def test_a_reset_that_fails_costs_the_connection_and_nothing_else(empty_dsn: str) -> None:
    async def reset(connection: pg.AsyncConnection) -> None:
        raise KeyError

    async with pg.Pool(empty_dsn, max_size=1, reset=reset) as pool:
        for _ in range(3):
            async with pool.connection() as connection:
                await connection.execute("select 1")
        assert pool.stats().discarded == 3


async def test_a_configure_that_fails_is_told(empty_dsn: str) -> None:
    async def configure(connection: pg.AsyncConnection) -> None:
        raise KeyError("what is wrong")

    async with pg.Pool(empty_dsn, configure=configure) as pool:
        with pytest.raises(pg.PoolTimeout, match="configure") as caught:
            async with pool.connection():
                pass
    assert isinstance(caught.value.__cause__, KeyError)


async def test_an_outage_is_waited_out(empty_dsn: str) -> None:
    async with proxied(empty_dsn) as proxy, pg.Pool(proxy.dsn) as pool:
        async with pool.connection() as connection:
            fileno = connection.fileno()
        proxy.refuses = True
        await proxy.cut()
        await trio.lowlevel.wait_readable(fileno)
        results: list[Any] = []

        async def ask() -> None:
            async with pool.connection() as connection:
                results.append(await (await connection.execute("select 1")).fetchone())

        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                for _ in range(10):
                    nursery.start_soon(ask)
                await until(lambda: pool.stats().failed > 0)
                proxy.refuses = False
        assert results == [(1,)] * 10


async def test_leaving_waits_for_those_that_are_lent(empty_dsn: str) -> None:
    async def work(pool: pg.Pool, task_status: trio.TaskStatus[None]) -> None:
        async with pool.connection() as connection:
            task_status.started()
            cursor = await connection.execute("select 1 from pg_sleep(0.05)")
            done.append(await cursor.fetchone())

    done: list[Any] = []
    async with trio.open_nursery() as nursery:
        async with pg.Pool(empty_dsn) as pool:
            await nursery.start(work, pool)
        assert done == [(1,)]
        with pytest.raises(pg.PoolClosed):
            async with pool.connection():
                pass


async def test_leaving_closes_those_that_do_not_come_back(empty_dsn: str) -> None:
    async def work(pool: pg.Pool, task_status: trio.TaskStatus[None]) -> None:
        with pytest.raises(psycopg.OperationalError):
            async with pool.connection() as connection:
                task_status.started()
                await connection.execute("select pg_sleep(600)")

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            async with pg.Pool(empty_dsn, close_timeout=0.05) as pool:
                await nursery.start(work, pool)


async def test_leaving_turns_away_who_waits(empty_dsn: str) -> None:
    async def hold(task_status: trio.TaskStatus[None]) -> None:
        async with pool.connection():
            task_status.started()
            await turned_away.wait()

    async def wait() -> None:
        with pytest.raises(pg.PoolClosed):
            async with pool.connection():
                pass
        turned_away.set()

    turned_away = trio.Event()
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            async with pg.Pool(empty_dsn, max_size=1) as pool:
                await nursery.start(hold)
                nursery.start_soon(wait)
                await trio.testing.wait_all_tasks_blocked()


async def test_what_is_raised_in_its_block_comes_out_unchanged(empty_dsn: str) -> None:
    for error in (KeyError("a"), ExceptionGroup("ours", [KeyError("b")]), KeyboardInterrupt()):
        with pytest.raises(type(error)) as caught:
            async with pg.Pool(empty_dsn) as pool:
                async with pool.connection() as connection:
                    await connection.execute("select 1")
                raise error
        assert caught.value is error


@pytest.mark.parametrize("what", ["idle", "lent", "listener", "connection", "transaction"])
async def test_what_is_raised_in_a_block_is_not_lost_to_a_cancellation(
    empty_dsn: str, what: str
) -> None:
    with pytest.raises(ValueError, match="mine"):
        with trio.CancelScope() as scope:
            async with AsyncExitStack() as stack:
                if what == "listener":
                    listener = await stack.enter_async_context(pg.Listener(empty_dsn))
                    events = await stack.enter_async_context(listener.subscribe("x"))
                    await events.receive()
                elif what in ("idle", "lent"):
                    pool = await stack.enter_async_context(pg.Pool(empty_dsn))
                    async with pool.connection():
                        pass
                    if what == "lent":
                        # To a task that does not give it back.
                        await pool.connection().__aenter__()
                else:
                    connection = await pg.AsyncConnection.connect(empty_dsn)
                    await stack.enter_async_context(connection)
                    await connection.execute("select 1")
                    if what == "transaction":
                        await stack.enter_async_context(connection.transaction())
                scope.cancel()
                raise ValueError("mine")


@pytest.mark.parametrize("when", ["before", "while it is opened"])
async def test_who_is_shielded_is_lent_a_connection_though_the_block_is_cancelled(
    empty_dsn: str, when: str
) -> None:
    async with proxied(empty_dsn) as proxy:
        with trio.CancelScope() as scope, trio.fail_after(PATIENCE):
            async with pg.Pool(proxy.dsn) as pool:

                async def write_the_last() -> None:
                    with trio.CancelScope(shield=True):
                        async with pool.connection() as connection:
                            await connection.execute("select 1")

                if when == "before":
                    scope.cancel()
                    await write_the_last()
                else:
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(write_the_last)
                        await until(lambda: pool.stats().size == 1)
                        scope.cancel()
            assert pool.stats().lent == 1


async def test_a_cancelled_block_waits_for_no_connection_that_nobody_wants(
    empty_dsn: str,
) -> None:
    async with proxied(empty_dsn) as proxy:
        proxy.hold()
        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                for is_shielded in (False, True):
                    nursery.start_soon(_wait_for_silence, proxy.dsn, is_shielded)


async def _wait_for_silence(dsn: str, is_shielded: bool) -> None:
    """Be cancelled while a connection is opened by a server that never answers."""
    with trio.CancelScope() as scope:
        async with (
            pg.Pool(dsn, timeout=600, kwargs={"connect_timeout": 600}) as pool,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(pool.wait)
            await until(lambda: pool.stats().size == 1)
            scope.cancel()
            with trio.CancelScope(shield=is_shielded):
                with contextlib.suppress(pg.PoolTimeout):
                    await pool.wait(timeout=0.2)
                await until(lambda: pool.stats().size == 0)


async def test_it_lends_the_class_it_is_given(empty_dsn: str) -> None:
    class Mine(pg.AsyncConnection[DictRow]):
        pass

    async with (
        pg.Pool(empty_dsn, connection_class=Mine, kwargs={"row_factory": dict_row}) as pool,
        pool.connection() as connection,
    ):
        assert isinstance(connection, Mine)
        assert await (await connection.execute("select 1 as n")).fetchone() == {"n": 1}


@pytest.mark.parametrize("sizes", [(-1, 1), (2, 1), (0, 0)])
def test_sizes_that_make_no_sense_are_refused(sizes: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="sizes"):
        pg.Pool("", min_size=sizes[0], max_size=sizes[1])


async def test_no_password_is_in_what_it_says(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    address = make_conninfo("host=127.0.0.1 port=1", password="hunter2")
    async with pg.Pool(address) as pool:
        with pytest.raises(psycopg.OperationalError) as caught:
            await pool.wait(timeout=0.05)
    assert "hunter2" not in f"{caught.value} {caplog.text}"


async def test_a_connection_that_is_opened_while_the_pool_is_left_is_closed(empty_dsn: str) -> None:
    made: list[pg.AsyncConnection[Any]] = []

    class Late(pg.AsyncConnection[Any]):
        @classmethod
        async def connect(cls, *args: Any, **kwargs: Any) -> Any:
            # As one whose last byte has just arrived, which no cancellation stops any more.
            with trio.CancelScope(shield=True):
                made.append(connection := await super().connect(*args, **kwargs))
            return connection

    async with pg.Pool(empty_dsn, min_size=2, connection_class=Late):
        await trio.testing.wait_all_tasks_blocked()
    assert [connection.closed for connection in made] == [True, True]


async def test_what_was_notified_to_one_is_not_kept_for_the_next(empty_dsn: str) -> None:
    async with pg.Pool(empty_dsn, max_size=1) as pool:
        async with pool.connection() as connection:
            await connection.execute("listen a")
            await connection.execute("notify a")
        async with pool.connection() as connection:
            # It comes with the answer to the commit, and is heard by who asks in time.
            assert [each async for each in connection.notifies(timeout=0)] == []
