"""Servers that are no PostgreSQL are refused: a sentence says what does not work there."""

from __future__ import annotations

import psycopg
import pytest

import m25
from m25 import migrations, pg
from m25._servers import find_misfit
from m25.cli import main
from m25.errors import DatabaseUnavailable, UnsupportedServer
from support.servers import CITUS, NO_SETTINGS, answering

COCKROACH = "CockroachDB CCL v25.1.2 (x86_64-pc-linux-gnu, built 2025/03/10, go1.22.8)"
YUGABYTE = (
    "PostgreSQL 15.2-YB-2025.1.0.1-b0 on x86_64-pc-linux-gnu, compiled by clang version 19.1.0"
)


def make(dsn: str, *statements: bytes) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        for each in statements:
            connection.execute(each)


async def refused(dsn: str) -> str:
    with pytest.raises(UnsupportedServer) as caught:
        async with m25.open(dsn):
            pass
    return str(caught.value)


async def test_a_client_names_yugabyte_though_all_has_worked_so_far(dsn: str) -> None:
    make(dsn, answering(YUGABYTE))
    said = await refused(dsn)
    assert said.startswith("this server is YugabyteDB, on which m25 does not work: each of its")
    assert said.endswith("run m25 on PostgreSQL, 13 or newer")


async def test_a_client_names_cockroach_where_no_connection_can_be_made_fit(dsn: str) -> None:
    make(dsn, answering(COCKROACH), NO_SETTINGS.encode())
    assert "CockroachDB, on which m25 does not work: it has no LISTEN" in await refused(dsn)


async def test_a_postgresql_that_refuses_the_settings_is_no_other_server(dsn: str) -> None:
    make(dsn, NO_SETTINGS.encode())
    with pytest.raises(DatabaseUnavailable, match="unrecognized configuration parameter"):
        async with m25.open(dsn):
            pass


async def test_a_client_names_the_table_that_citus_has_distributed(dsn: str) -> None:
    make(dsn, CITUS.encode())
    assert "`select undistribute_table('m25.job')`" in await refused(dsn)


async def test_citus_beside_plain_tables_is_no_matter(dsn: str) -> None:
    make(dsn, CITUS.encode(), b"delete from pg_catalog.pg_dist_partition")
    async with m25.open(dsn) as m:
        assert await m.queues() == []


async def test_nothing_is_migrated_there(empty_dsn: str) -> None:
    make(empty_dsn, answering(COCKROACH))
    async with await pg.AsyncConnection.connect(empty_dsn, autocommit=True) as connection:
        with pytest.raises(UnsupportedServer, match="CockroachDB"):
            await migrations.apply(connection, "m25")
        assert await migrations.read_version(connection, "m25") is None


def test_the_command_says_it_in_a_sentence(
    empty_dsn: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make(empty_dsn, answering(COCKROACH))
    assert main(["migrate", "--addr", empty_dsn]) == 1
    assert "m25: this server is CockroachDB" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("version", "number", "product"),
    [
        ("PostgreSQL 12.22 on x86_64-pc-linux-gnu", 120_022, "PostgreSQL 12"),
        ("PostgreSQL 11.2-YB-2.18.0.1-b0 on x86_64", 110_002, "YugabyteDB"),
        ("PostgreSQL 12.12 (Greenplum Database 7.1.0 build commit:e7c2b1f)", 120_012, "Greenplum"),
        ("PostgreSQL 8.0.2 on i686-pc-linux-gnu, Redshift 1.0.77467", 80_002, "Redshift"),
        ("PostgreSQL 13.0 on x86_64", 130_000, None),
    ],
)
def test_servers_are_told_apart(version: str, number: int, product: str | None) -> None:
    misfit = find_misfit(version, number)
    assert (misfit and misfit.product) == product
