"""The calls of the store know nothing of Trio: a plain connection of psycopg's runs them, too."""

from __future__ import annotations

from typing import Any, TypeVar

import psycopg
import pytest
from _world import PostgresWorld, job, make_id

from m25._store.protocol import Enqueued, Exists, Held
from m25._store.statements import load_statements
from m25._store.steps import Calls, Steps
from support.hearing import hearing

T = TypeVar("T")

CALLS = Calls("m25")
STATEMENTS = load_statements("m25")


def run(connection: psycopg.Connection[Any], steps: Steps[T]) -> T:
    """A driver."""
    try:
        statement = next(steps)
        while True:
            cursor = connection.execute(STATEMENTS[statement.name], statement.parameters)
            statement = steps.send(cursor.fetchall())
    except StopIteration as done:
        answer: T = done.value
        return answer


async def test_a_sync_connection_gets_the_same_answers(dsn: str, database: PostgresWorld) -> None:
    store = database.store
    (holder,) = await database.put(job(unique_key="k", priority=3))
    new = [job(), job(id=holder), job(unique_key="k")]
    with psycopg.connect(dsn) as connection:
        inserted, exists, held = run(connection, CALLS.enqueue(new, ["q"]))
        assert isinstance(inserted, Enqueued)
        assert exists == Exists(await database.row(holder), ("unique_key", "priority"))
        assert held == Held(holder)
        # It is the connection's transaction.
        assert await store.get([new[0].id]) == {}
        connection.commit()
        assert await store.enqueue(new, ["q"]) == [
            Exists(await database.row(new[0].id)),
            exists,
            held,
        ]
        ids = [new[0].id, holder, make_id()]
        assert run(connection, CALLS.get(ids)) == await store.get(ids)
        cancelled = run(connection, CALLS.cancel(holder, "q"))
        connection.commit()
        assert cancelled == await database.row(holder)
        assert run(connection, CALLS.cancel(holder, "q")) is None
        assert await store.cancel(holder, "q") is None
        (again,) = run(connection, CALLS.enqueue([job(unique_key="k")], []))
        assert isinstance(again, Enqueued)


async def test_a_sync_connection_notifies_the_workers_at_its_commit(
    dsn: str, database: PostgresWorld
) -> None:
    async with hearing(database.store.listen, ["q"]) as names:
        assert await anext(names) is None
        with psycopg.connect(dsn) as connection:
            run(connection, CALLS.enqueue([job()], ["q"]))
        assert await anext(names) == "q"


@pytest.mark.parametrize("count", [1, 3])
def test_a_call_that_gets_no_further_says_so_itself(count: int) -> None:
    # Each insert finds the key held, and each look at it finds that nobody holds it.
    steps = CALLS.enqueue([job(unique_key="k") for _ in range(count)], [])
    next(steps)
    with pytest.raises(Exception, match="taken and given up faster") as failure:
        while True:
            steps.send([])
    assert isinstance(failure.value.__cause__, psycopg.OperationalError)
