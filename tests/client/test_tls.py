"""TLS, as the address asks for it: all that a client says goes through it, or nothing does.

The server's end of it is a proxy's: the embedded server has none, and need not know.
"""

from __future__ import annotations

import shutil
import ssl
import subprocess
import traceback
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from psycopg.conninfo import make_conninfo

import m25
from m25 import pg
from support.proxy import Proxy, proxied
from support.waiting import ended, eventually, rows

SECRET = "hunter2"


@m25.queue("encrypted", poll_interval=600)
async def encrypted(text: str) -> str:
    return text.upper()


def certify(directory: Path, name: str, subject: str = "DNS:localhost") -> Path:
    """A certificate that is its own root, with its key beside it."""
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("there is no openssl program to make a certificate with")
    certificate = directory / f"{name}.pem"
    command = [program, "req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    command += ["-addext", f"subjectAltName={subject}"]
    command += ["-keyout", str(key_of(certificate)), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    return certificate


def key_of(certificate: Path) -> Path:
    return certificate.with_suffix(".key")


@asynccontextmanager
async def encrypting(
    dsn: str, certificate: Path, *, clients: Path | None = None
) -> AsyncGenerator[Proxy]:
    """A server that takes no connection without TLS, nor, if told so, a client without its own."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key_of(certificate))
    if clients is not None:
        tls.load_verify_locations(clients)
        tls.verify_mode = ssl.CERT_REQUIRED
    async with proxied(dsn, tls=tls) as proxy:
        # The address is what it connects to; the name is what the certificate is for.
        proxy.dsn = make_conninfo(
            proxy.dsn, host="localhost", sslmode="verify-full", sslrootcert=str(certificate)
        )
        yield proxy


async def refusal(dsn: str) -> str:
    """What one is told who cannot connect; the password is nowhere in it."""
    with pytest.raises(m25.errors.DatabaseUnavailable) as caught:
        async with m25.open(make_conninfo(dsn, password=SECRET)):
            pass
    said = "".join(traceback.format_exception(caught.value))
    assert SECRET not in said
    return said


async def test_workers_their_listener_and_clients_all_use_tls(dsn: str, tmp_path: Path) -> None:
    async with encrypting(dsn, certify(tmp_path, "server")) as server:
        async with m25.open(server.dsn) as worker, m25.open(server.dsn) as client:
            worker.add_queue(encrypted)
            await worker.start()
            # Many times what a record of TLS holds.
            texts = [letter * 100_000 for letter in "abcdefgh"]
            put = await client.enqueue_many(encrypted, texts)
            # Who polls that seldom was told of them.
            for text, id in zip(texts, put.ids, strict=True):
                assert (await ended(client, encrypted, id)).output == text.upper()
        # A pooled connection each, and one that listens, at the least.
        assert server.connections >= 3


async def test_a_query_is_cancelled_through_tls(
    dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Where the machine is busy, the cancel takes its time; without one the query sleeps longer.
    monkeypatch.setattr("m25.pg._wire.CLEAN_UP", 30.0)

    async def sleeps() -> bool:
        asked = "select 1 from pg_stat_activity where query = 'select pg_sleep(60)'"
        here = "datname = current_database() and state = 'active'"
        return bool(await rows(dsn, f"{asked} and {here}"))

    async def none_sleeps() -> bool:
        return not await sleeps()

    async with (
        encrypting(dsn, certify(tmp_path, "server")) as server,
        await pg.AsyncConnection.connect(server.dsn, autocommit=True) as connection,
    ):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connection.execute, "select pg_sleep(60)")
            await eventually(sleeps)
            nursery.cancel_scope.cancel()
        assert not connection.closed
        assert await (await connection.execute("select 1")).fetchone() == (1,)
        # The request to cancel came by a connection of its own.
        assert server.connections == 2
        await eventually(none_sleeps)


async def test_a_server_of_another_root_is_refused(dsn: str, tmp_path: Path) -> None:
    other = certify(tmp_path, "other")
    async with encrypting(dsn, certify(tmp_path, "server")) as server:
        said = await refusal(make_conninfo(server.dsn, sslrootcert=str(other)))
    assert "certificate verify failed" in said


async def test_the_name_is_verified_and_not_the_address_that_it_stands_for(
    dsn: str, tmp_path: Path
) -> None:
    async with encrypting(dsn, certify(tmp_path, "server", "DNS:db.example")) as server:
        assert "does not match host name" in await refusal(server.dsn)
        said = make_conninfo(server.dsn, host="db.example", hostaddr="127.0.0.1")
        async with m25.open(said) as m:
            await m.enqueue(encrypted, "a")


async def test_a_client_is_known_by_its_own_certificate(dsn: str, tmp_path: Path) -> None:
    own = certify(tmp_path, "client")
    async with encrypting(dsn, certify(tmp_path, "server"), clients=own) as server:
        await refusal(server.dsn)
        certified = make_conninfo(server.dsn, sslcert=str(own), sslkey=str(key_of(own)))
        async with m25.open(certified) as m:
            m.add_queue(encrypted)
            await m.start()
            record = await m.enqueue(encrypted, "a")
            assert (await ended(m, encrypted, record.id)).output == "A"


async def test_nothing_is_said_to_a_server_without_tls_where_it_is_required(dsn: str) -> None:
    async with proxied(dsn) as server:
        if await rows(dsn, "select 1 from pg_settings where name = 'ssl' and setting = 'on'"):
            pytest.skip("this server has TLS")
        said = await refusal(make_conninfo(server.dsn, sslmode="require"))
    assert "server does not support SSL, but SSL was required" in said


async def test_a_server_that_wants_tls_has_none_without(dsn: str, tmp_path: Path) -> None:
    async with encrypting(dsn, certify(tmp_path, "server")) as server:
        said = await refusal(make_conninfo(server.dsn, sslmode="disable"))
    assert "closed" in said or "reset" in said
