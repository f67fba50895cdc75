"""Both stores, for the tests that hold them to the same behaviour."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest
from _world import MemoryWorld, PostgresWorld, WithVerbs

from m25 import pg
from m25._store.postgres import prepare_connection


@pytest.fixture(params=["memory", "postgres"])
def place(request: pytest.FixtureRequest) -> str | None:
    """A database's conninfo; `None` is memory."""
    return request.getfixturevalue("dsn") if request.param == "postgres" else None


@pytest.fixture
async def world(place: str | None) -> AsyncGenerator[WithVerbs]:
    if place is None:
        yield MemoryWorld()
        return
    async with pg.Pool(
        place, max_size=10, kwargs={"autocommit": True}, configure=prepare_connection
    ) as pool:
        yield PostgresWorld(pool)


@pytest.fixture
async def database(dsn: str) -> AsyncGenerator[PostgresWorld]:
    """For what only a database does."""
    async with pg.Pool(
        dsn, max_size=10, kwargs={"autocommit": True}, configure=prepare_connection
    ) as pool:
        yield PostgresWorld(pool)
