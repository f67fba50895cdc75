"""Both stores, for the tests that hold them to the same behaviour."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest
from _world import MemoryWorld, PostgresWorld, WithVerbs, connected

POOLER = "postgres, as through a pooler"


@pytest.fixture(params=["memory", "postgres", pytest.param(POOLER, marks=pytest.mark.slow)])
def place(request: pytest.FixtureRequest) -> str | None:
    """A database's conninfo; `None` is memory."""
    return None if request.param == "memory" else request.getfixturevalue("dsn")


@pytest.fixture
async def world(place: str | None, request: pytest.FixtureRequest) -> AsyncGenerator[WithVerbs]:
    if place is None:
        world = MemoryWorld()
        world.stand_still()
        yield world
        return
    async with connected(place) as database:
        if "pooler" in request.node.callspec.id:
            database.store._is_direct = False
        yield database


@pytest.fixture
async def database(dsn: str) -> AsyncGenerator[PostgresWorld]:
    """For what only a database does."""
    async with connected(dsn) as database:
        yield database
