"""Clients: how they are opened, started and left."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from psycopg.conninfo import conninfo_to_dict, make_conninfo

import m25
from m25 import pg
from support.failing import refused_start
from support.proxy import proxied
from support.waiting import ended, eventually, rows


@m25.queue("numbers")
async def numbers(number: int) -> int:
    return number + 1


async def test_a_client_can_be_opened_by_a_url(dsn: str) -> None:
    given = conninfo_to_dict(dsn)
    password = f":{given['password']}" if "password" in given else ""
    for scheme in ("postgresql", "postgres", "postgresql+psycopg"):
        url = f"{scheme}://{given['user']}{password}@{given['host']}:{given['port']}/{given['dbname']}"
        async with m25.open(url) as m:
            await m.enqueue(numbers, 1)


async def test_a_client_can_be_opened_on_a_pool_which_stays_the_callers(dsn: str) -> None:
    async with pg.Pool(dsn) as pool:
        async with m25.open(pool) as m:
            m.add_queue(numbers)
            await m.start()
            record = await ended(m, numbers, (await m.enqueue(numbers, 1)).id)
            assert record.output == 2
        async with pool.connection() as connection:
            await connection.execute("select 1")


async def test_a_client_takes_libpqs_environment(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in conninfo_to_dict(dsn).items():
        name = {"dbname": "PGDATABASE"}.get(key, f"PG{key.upper()}")
        monkeypatch.setenv(name, str(value))
    async with m25.open() as m:
        await m.enqueue(numbers, 1)


async def test_an_address_that_does_not_answer_is_a_clear_error() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        address = f"host=127.0.0.1 port={port} dbname=shop user=ada password=hunter2"
        with pytest.raises(m25.errors.DatabaseUnavailable) as error:
            async with m25.open(address):
                pass
    assert f"127.0.0.1:{port}/shop" in str(error.value)
    assert "hunter2" not in str(error.value)
    assert error.value.__cause__ is not None


async def test_a_wrong_password_is_a_clear_error_without_it(dsn: str) -> None:
    if "password" not in conninfo_to_dict(dsn):
        pytest.skip("this server asks for no password")
    with pytest.raises(
        m25.errors.DatabaseUnavailable, match="password authentication failed"
    ) as error:
        async with m25.open(make_conninfo(dsn, password="hunter2")):
            pass
    assert "hunter2" not in str(error.value)


async def test_a_database_that_is_not_migrated_names_the_command(empty_dsn: str) -> None:
    with pytest.raises(m25.errors.DatabaseNotMigrated, match=r"m25 migrate --apply"):
        async with m25.open(empty_dsn):
            pass


async def test_a_database_of_a_newer_version_is_refused(dsn: str) -> None:
    await rows(dsn, "insert into m25.version (version) values ('2999-01-01')")
    with pytest.raises(m25.errors.DatabaseTooNew, match="2999"):
        async with m25.open(dsn):
            pass


async def test_a_second_queue_of_the_same_name_is_refused(dsn: str) -> None:
    async with m25.open(dsn) as m:
        m.add_queue(numbers)
        with pytest.raises(
            m25.errors.DuplicateQueue, match="'numbers' is already registered"
        ) as error:
            m.add_queue(numbers)
        assert error.value.name == "numbers"


async def test_a_client_refuses_use_after_its_block(dsn: str) -> None:
    async with m25.open(dsn) as m:
        record = await m.enqueue(numbers, 1)
    with pytest.raises(m25.errors.ClientClosed):
        await m.enqueue(numbers, 1)
    with pytest.raises(m25.errors.ClientClosed):
        await m.get_job(numbers, record.id)
    with pytest.raises(m25.errors.ClientClosed):
        await m.cancel_job(numbers, record.id)
    with pytest.raises(m25.errors.ClientClosed):
        m.add_queue(numbers)
    with pytest.raises(m25.errors.ClientClosed):
        await m.start()


async def test_a_client_is_started_once_and_its_queues_are_added_before(dsn: str) -> None:
    async with m25.open(dsn) as m:
        m.add_queue(numbers)
        await m.start()
        with pytest.raises(m25.errors.AlreadyStarted):
            await m.start()
        with pytest.raises(m25.errors.AlreadyStarted):
            m.add_queue(numbers)


async def test_a_queue_that_does_not_initialise_is_named(dsn: str) -> None:
    async with m25.open(dsn, shutdown_grace=0) as m:
        m.add_queue(numbers)
        await rows(dsn, "alter table m25.job rename to gone")
        error = await refused_start(m)
        assert "'numbers'" in str(error)
        assert error.queue_name == "numbers"
        assert error.__cause__ is not None
        await rows(dsn, "alter table m25.gone rename to job")
        await m.start()
        assert (await ended(m, numbers, (await m.enqueue(numbers, 1)).id)).output == 2


async def test_two_clients_in_one_program_do_not_disturb_each_other(
    dsn: str, empty_dsn: str
) -> None:
    async with await pg.AsyncConnection.connect(empty_dsn, autocommit=True) as connection:
        await m25.migrations.apply(connection, "m25")
    async with m25.open(dsn) as one:
        async with m25.open(empty_dsn) as other:
            for m in (one, other):
                m.add_queue(numbers)
                await m.start()
            records = [await m.enqueue(numbers, n) for n, m in enumerate((one, other))]
            for n, m in enumerate((one, other)):
                assert (await ended(m, numbers, records[n].id)).output == n + 1
            with pytest.raises(m25.NoJobRecordFound):
                await other.get_job(numbers, records[0].id)
        record = await one.enqueue(numbers, 5)
        assert (await ended(one, numbers, record.id)).output == 6


async def test_queues_run_as_a_child_of_the_callers_nursery(dsn: str) -> None:
    async with m25.open(dsn) as m:
        m.add_queue(numbers)
        async with trio.open_nursery() as nursery:
            await nursery.start(m.run)
            record = await ended(m, numbers, (await m.enqueue(numbers, 1)).id)
            await m.stop()
    assert record.output == 2


async def test_an_error_in_the_block_arrives_as_it_is(dsn: str) -> None:
    with pytest.raises(LookupError, match="mine"):
        async with m25.open(dsn) as m:
            m.add_queue(numbers)
            await m.start()
            raise LookupError("mine")


async def test_a_stopped_client_can_be_started_again(dsn: str) -> None:
    async with m25.open(dsn) as m:
        m.add_queue(numbers)
        await m.start()
        await m.stop()
        record = await m.enqueue(numbers, 1)
        await m.start()
        assert (await ended(m, numbers, record.id)).output == 2


async def test_a_handler_may_enqueue_while_the_client_stops(dsn: str) -> None:
    begun, follow = trio.Event(), []

    @m25.queue("parents")
    async def parents(number: int) -> None:
        begun.set()
        await trio.sleep(0.1)
        follow.append(await m.enqueue(numbers, number))

    async with m25.open(dsn) as m:
        m.add_queue(parents)
        await m.start()
        await m.enqueue(parents, 1)
        await begun.wait()
    assert len(follow) == 1


async def test_a_queue_with_setup_gives_its_handler_what_that_yields(dsn: str) -> None:
    events: list[str] = []

    @asynccontextmanager
    async def resource() -> AsyncIterator[str]:
        events.append("entered")
        yield "resource"
        events.append("left")

    @m25.queue("with setup", setup=resource)
    async def with_setup(number: int, given: str) -> str:
        events.append(given)
        return f"{given} {number}"

    async with m25.open(dsn) as m:
        m.add_queue(with_setup)
        await m.start()
        record = await ended(m, with_setup, (await m.enqueue(with_setup, 1)).id)
    assert record.output == "resource 1"
    assert events == ["entered", "resource", "left"]
    assert record.reserved_at is not None
    assert record.started_at is not None
    assert record.reserved_at < record.started_at
    assert record.deadline == record.started_at + record.timeout


async def test_a_job_is_reserved_while_its_executor_initialises(dsn: str) -> None:
    entered, release = trio.Event(), trio.Event()

    @asynccontextmanager
    async def resource() -> AsyncIterator[None]:
        entered.set()
        await release.wait()
        yield

    @m25.queue("with setup", setup=resource)
    async def with_setup(number: int, _: None) -> None:
        pass

    async with m25.open(dsn) as m:
        m.add_queue(with_setup)
        await m.start()
        id = (await m.enqueue(with_setup, 1)).id
        await entered.wait()
        record = await m.get_job(with_setup, id)
        assert record.status is m25.JobStatus.RESERVED
        assert record.started_at is None
        release.set()
        assert (await ended(m, with_setup, id)).status is m25.JobStatus.SUCCEEDED


async def test_a_job_whose_executor_does_not_initialise_goes_back_and_is_tried_again(
    dsn: str,
) -> None:
    tries = 0

    @asynccontextmanager
    async def resource() -> AsyncIterator[None]:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise OSError("no resource")
        if tries == 2:
            await trio.sleep_forever()
        yield

    @m25.queue("with setup", setup=resource, executor_init_timeout=0.1)
    async def with_setup(number: int, _: None) -> int:
        return m25.current_job().attempt

    async with m25.open(dsn) as m:
        m.add_queue(with_setup)
        await m.start()
        record = await ended(m, with_setup, (await m.enqueue(with_setup, 1)).id)
    assert tries == 3
    # No attempt was spent.
    assert record.output == 1
    assert record.previous_attempt_id is None


async def test_the_schema_can_have_another_name(empty_dsn: str) -> None:
    schema = 'My "Jobs"'
    async with await pg.AsyncConnection.connect(empty_dsn, autocommit=True) as connection:
        await m25.migrations.apply(connection, schema)
    async with m25.open(empty_dsn, schema=schema) as m:
        m.add_queue(numbers)
        await m.start()
        assert (await ended(m, numbers, (await m.enqueue(numbers, 1)).id)).output == 2
    (row,) = await rows(empty_dsn, 'select count(*) from "My ""Jobs""".job')
    assert row["count"] == 1


async def set_for_database(dsn: str, setting: str) -> None:
    """Set what new sessions on this database begin with."""
    name = str(conninfo_to_dict(dsn)["dbname"])
    await rows(dsn, f'alter database "{name}" set {setting}')


NOTE_LEVEL = """
    create function note_level() returns trigger language plpgsql as $$ begin
        new.meta := to_jsonb(current_setting('transaction_isolation'));
        return new;
    end $$
"""


async def test_claims_do_not_mind_a_stricter_default_isolation_level(dsn: str) -> None:
    await set_for_database(dsn, "default_transaction_isolation to 'repeatable read'")
    # Every write leaves a note of the level that it was made at.
    await rows(dsn, NOTE_LEVEL)
    await rows(
        dsn,
        "create trigger note before update on m25.job for each row execute function note_level()",
    )
    done: set[int] = set()

    @m25.queue("strict", max_concurrency=5)
    async def strict(number: int) -> None:
        done.add(number)

    async with m25.open(dsn) as one, m25.open(dsn) as other:
        for number in range(60):
            await one.enqueue(strict, number)
        for m in (one, other):
            m.add_queue(strict)
            await m.start()

        async def all_done() -> bool:
            return len(done) == 60

        await eventually(all_done)
    assert await rows(dsn, "select distinct meta from m25.job") == [{"meta": "read committed"}]


async def test_a_queue_that_cannot_claim_says_why_it_did_not_start(dsn: str) -> None:
    await set_for_database(dsn, "default_transaction_read_only to on")
    async with m25.open(dsn, shutdown_grace=0) as m:
        m.add_queue(numbers)
        assert "read-only transaction" in str(await refused_start(m))


async def test_work_goes_on_after_every_backend_was_terminated(dsn: str) -> None:
    done: set[int] = set()

    @m25.queue("sturdy", poll_interval=0.2)
    async def sturdy(number: int) -> None:
        await trio.sleep(0.05)
        done.add(number)

    async with m25.open(dsn) as m:
        m.add_queue(sturdy)
        await m.start()
        for number in range(40):
            await m.enqueue(sturdy, number)
            if number % 10 == 5:
                # Waits until they have ended: one that is about to may look as if it were well.
                await rows(
                    dsn,
                    "select pg_terminate_backend(pid, 30000) from pg_stat_activity"
                    " where datname = current_database() and pid <> pg_backend_pid()",
                )

                # The pool finds out by itself; an enqueue on a dead connection may be told.
                async def works(number: int = number) -> bool:
                    try:
                        await m.get_job(sturdy, (await m.enqueue(sturdy, 100 + number)).id)
                    except m25.errors.JobRecordFetchQueryError:
                        return False
                    return True

                await eventually(works)

        async def all_succeeded() -> bool:
            (row,) = await rows(
                dsn, "select count(*) from m25.job where status not in ('succeeded')"
            )
            return row["count"] == 0

        await eventually(all_succeeded)
    assert done >= set(range(40))


async def test_a_silent_first_host_keeps_no_client_from_the_second(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The address gives each host as long as a call waits for a connection, and longer; and longer
    # than a busy machine takes for the second.
    monkeypatch.setattr("m25._client._CONNECTION_TIMEOUT", 6.0)
    (silent,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    kept: list[trio.SocketStream] = []

    async def keep_silent() -> None:
        try:
            while True:
                kept.append(await silent.accept())
        finally:
            for stream in kept:
                await trio.aclose_forcefully(stream)

    async with silent, proxied(dsn) as proxy, trio.open_nursery() as nursery:
        nursery.start_soon(keep_silent)
        ports = silent.socket.getsockname()[1], conninfo_to_dict(proxy.dsn)["port"]
        both = make_conninfo(
            proxy.dsn, host="127.0.0.1,127.0.0.1", port="{},{}".format(*ports), connect_timeout=7
        )
        async with m25.open(both) as m:
            m.add_queue(numbers)
            await m.start()
            record = await ended(m, numbers, (await m.enqueue(numbers, 1)).id)
        assert record.output == 2
        nursery.cancel_scope.cancel()
    # Not each of a client's connections has waited for it.
    assert len(kept) == 1
