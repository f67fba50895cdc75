"""PgBouncer in transaction mode between m25 and the server: where it is installed."""

from __future__ import annotations

import logging
import os
import pwd
import shutil
import socket
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from uuid import uuid4

import psycopg
import pytest
import trio
from psycopg.conninfo import conninfo_to_dict, make_conninfo

import m25
from support.waiting import ended, eventually, rows

from .servers import open_directory

#: So few connections that clients share them all the time.
SETTINGS = """
[databases]
* = {server}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 3
"""


async def handler(number: int) -> None:
    """Has nothing to do."""


@asynccontextmanager
async def bouncer(dsn: str) -> AsyncGenerator[str]:
    """Run PgBouncer in front of a server; yields the conninfo by which one goes through it."""
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        pytest.skip("PgBouncer is not installed")
    params = conninfo_to_dict(dsn)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = make_conninfo("", **{key: params[key] for key in ("host", "port", "user", "password")})
    with open_directory() as directory:
        # It refuses to run as root.
        user = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
        settings = directory / "pgbouncer.ini"
        settings.write_text(SETTINGS.format(server=server, port=port))
        if user is not None:
            os.chown(settings, user.pw_uid, user.pw_gid)
        process = await trio.lowlevel.open_process(
            [program, "-q", str(settings)],
            stderr=subprocess.DEVNULL,
            user=user and user.pw_uid,
            group=user and user.pw_gid,
        )
        through = make_conninfo(dsn, host="127.0.0.1", port=port)

        async def answers() -> bool:
            try:
                await rows(through, "select 1")
            except psycopg.OperationalError:
                return False
            return True

        try:
            await eventually(answers)
            yield through
        finally:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()


async def test_behind_a_transaction_pooler_all_works_by_polling(
    dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "m25")

    class Mishap(Exception):
        pass

    @m25.queue(
        "pooled", errors=(Mishap,), max_concurrency=20, poll_interval=0.2, heartbeat_interval=0.2
    )
    async def pooled(number: int) -> int:
        await trio.sleep(0.01 * (number % 7))
        if number % 10 == 0 and m25.current_job().attempt == 1:
            raise Mishap(number)
        return number

    def job(number: int) -> m25.Job[int]:
        return m25.Job(number, max_attempts=2, retry_delay=0)

    async def keep_asking(client: m25.M25, first: int) -> None:
        for number in range(first, first + 100):
            await client.enqueue(pooled, job(number))

    async with (
        bouncer(dsn) as through,
        m25.open(through) as m,
        m25.open(through) as other,
        m25.open(through) as web,
    ):
        for client in (m, other):
            client.add_queue(pooled)
            await client.start()
        async with trio.open_nursery() as nursery:
            for client, first in ((web, 0), (web, 100), (m, 200), (other, 300)):
                nursery.start_soon(keep_asking, client, first)
        await web.enqueue_many(pooled, map(job, range(401, 500)))
        record = await web.enqueue(pooled, 999)
        assert (await ended(web, pooled, record.id)).output == 999

        async def all_succeeded() -> bool:
            found = await rows(dsn, "select count(*) from m25.job where status = 'succeeded'")
            return bool(found[0]["count"] == 500)

        await eventually(all_succeeded)
    found = await rows(
        dsn, "select input, output, attempt from m25.job where status = 'succeeded' order by input"
    )
    expected = [*range(400), *range(401, 500), 999]
    assert [row["output"] for row in found] == expected
    assert {row["input"] for row in found if row["attempt"] == 2} <= set(range(0, 1_000, 10))
    said = [each for each in caplog.records if each.levelno > logging.INFO]
    # That of each client which listens, if it took that long.
    assert {each.name for each in said} <= {"m25.pg.listener"}


async def test_what_is_set_for_our_statements_is_not_left_to_others_behind_a_pooler(
    dsn: str,
) -> None:
    settings = "select name, setting from pg_settings where source = 'session' order by name"
    async with (
        bouncer(dsn) as through,
        m25.open(through) as m,
        await m25.pg.AsyncConnection.connect(
            through, autocommit=True, prepare_threshold=None
        ) as other,
    ):
        with pytest.raises(m25.NoJobRecordFound):
            await m.get_job(m25.Queue("pooled", handler_function=handler), m25.JobId(uuid4()))
        left = await (await other.execute(settings)).fetchall()
    assert {name for name, _ in left} <= {"application_name", "client_encoding", "DateStyle"}


async def test_a_pool_and_a_transaction_of_the_callers_work_through_a_pooler(dsn: str) -> None:
    @m25.queue("pooled")
    async def pooled(number: int) -> None:
        pass

    async with (
        bouncer(dsn) as through,
        m25.pg.Pool(through) as pool,
        m25.open(pool) as m,
        await m25.pg.AsyncConnection.connect(through, prepare_threshold=None) as connection,
        await m25.pg.AsyncConnection.connect(through, prepare_threshold=None) as undone,
    ):
        for number in range(20):
            await m.enqueue(pooled, number)
            await m.enqueue(pooled, 100 + number, connection=connection)
            await m.enqueue(pooled, 200 + number, connection=undone)
            await connection.commit()
            await undone.rollback()
    found = await rows(dsn, "select input from m25.job order by input")
    assert [row["input"] for row in found] == [*range(20), *range(100, 120)]
