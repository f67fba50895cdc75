"""What several statements promise that are sent together: one transaction, in one round trip."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from m25 import pg
from m25.pg._one_trip import run_together
from m25.pg._prepared import Prepared

INSERT = Prepared(b"insert", b"insert into t values ($1::int) returning n", ("n",))
COUNT = Prepared(b"count", b"select count(*) from t where n < $1::int", ("n",))


@pytest.fixture
async def connection(empty_dsn: str) -> Any:
    async with await pg.AsyncConnection.connect(empty_dsn, autocommit=True) as connection:
        # Two of a number are only refused at the commit.
        await connection.execute("create table t (n int unique deferrable initially deferred)")
        yield connection


async def insert_and_count(connection: pg.AsyncConnection, n: int) -> list[Any]:
    return await run_together(connection, [(INSERT, {"n": str(n)}), (COUNT, {"n": "100"})])


async def test_each_has_its_rows_and_sees_what_those_before_it_have_written(
    connection: pg.AsyncConnection,
) -> None:
    for n in range(3):
        assert await insert_and_count(connection, n) == [[(n,)], [(n + 1,)]]


async def test_a_session_that_has_forgotten_its_statements_runs_all_of_them_once(
    connection: pg.AsyncConnection,
) -> None:
    await insert_and_count(connection, 0)
    await connection.execute("discard all", prepare=False)
    assert await insert_and_count(connection, 1) == [[(1,)], [(2,)]]


@pytest.mark.parametrize("n", ["x", "0"])
async def test_where_one_fails_or_the_commit_nothing_is_written_and_the_session_goes_on(
    connection: pg.AsyncConnection, n: str
) -> None:
    await insert_and_count(connection, 0)
    with pytest.raises((psycopg.errors.UniqueViolation, psycopg.errors.InvalidTextRepresentation)):
        await run_together(connection, [(INSERT, {"n": "1"}), (INSERT, {"n": n})])
    assert await insert_and_count(connection, 2) == [[(2,)], [(2,)]]
