"""What is left to others, and refused, where a pooler hands sessions from one to another."""

from __future__ import annotations

import pytest
from psycopg.conninfo import conninfo_to_dict

import m25
from m25 import pg
from m25._store.postgres import prepare_connection
from m25.pg._background import Background
from support.poolers import greeted_by_another
from support.waiting import rows

SETTINGS = [
    ("default_transaction_isolation", "serializable", "set .* to 'read committed'"),
    ("search_path", "public, pg_catalog", "set .* to pg_catalog, public"),
]


@pytest.mark.parametrize(("name", "value", "advice"), SETTINGS)
async def test_nothing_is_set_for_a_session_that_strangers_have_next(
    dsn: str, name: str, value: str, advice: str
) -> None:
    database = conninfo_to_dict(dsn)["dbname"]
    await rows(dsn, f'alter database "{database}" set {name} = {value}')
    async with Background() as nursery:
        through = await greeted_by_another(dsn, nursery)
        async with await pg.AsyncConnection.connect(through, autocommit=True) as connection:
            cursor = await connection.execute("select name, setting from pg_settings order by name")
            before = await cursor.fetchall()
            await prepare_connection(connection)
            cursor = await connection.execute("select name, setting from pg_settings order by name")
            assert await cursor.fetchall() == before
        # Which m25 cannot work with, then, and says so.
        with pytest.raises(m25.UsageError, match=advice):
            async with m25.open(through):
                pass
    # On sessions of its own it sets what it needs.
    async with m25.open(dsn):
        pass
