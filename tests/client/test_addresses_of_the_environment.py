"""One rule for addresses, for the client and for the command."""

from __future__ import annotations

import re
from typing import LiteralString
from urllib.parse import quote

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

import m25
from m25.cli import main
from support.failing import refused_start


@m25.queue("numbers")
async def numbers(number: int) -> int:
    return number


@pytest.fixture
def url(dsn: str, monkeypatch: pytest.MonkeyPatch) -> str:
    for variable in ("PGSERVICE", "PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE"):
        monkeypatch.delenv(variable, raising=False)
    parts = conninfo_to_dict(dsn)
    user, password = (quote(str(parts.get(each, "")), "") for each in ("user", "password"))
    return f"://{user}:{password}@{parts['host']}:{parts['port']}/{parts['dbname']}"


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+asyncpg"])
async def test_database_url_is_where_a_client_is_opened_and_a_migration_is_made(
    url: str, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", scheme + url)
    async with m25.open() as m:
        assert (await m.enqueue(numbers, 1)).input == 1


def test_the_command_takes_the_same(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", f"postgresql{url}")
    assert main(["migrate", "--check"]) == 0


async def test_what_is_given_wins_and_an_empty_address_is_libpqs_environment(
    url: str, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nothing")
    async with m25.open(dsn) as m:
        await m.enqueue(numbers, 1)
    names = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD"}
    for part, value in conninfo_to_dict(dsn).items():
        monkeypatch.setenv(names.get(part, "PGDATABASE"), str(value))
    async with m25.open("") as m:
        await m.enqueue(numbers, 1)


@pytest.mark.parametrize(
    ("identity", "told"),
    [
        ("nothing", r"replica identity .*\(.*set REPLICA IDE"),
        # Since PostgreSQL 18: the generated columns are in the identity, and not published.
        ("full", r"cannot update .*\(.*[Rr]eplica identity .*unpublished generated column"),
    ],
)
async def test_a_table_that_refuses_updates_is_told_with_what_to_do(
    dsn: str, identity: LiteralString, told: str
) -> None:
    with psycopg.connect(dsn, autocommit=True) as admin:
        if identity == "full" and admin.info.server_version < 180_000:
            pytest.skip("earlier servers take it")
        admin.execute("alter table m25.job replica identity " + identity)
        admin.execute("create publication everything for all tables")
    async with m25.open(dsn, shutdown_grace=0) as m:
        await m.enqueue(numbers, 1)
        m.add_queue(numbers)
        assert re.search(told, str(await refused_start(m)))
