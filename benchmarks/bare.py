"""Two bare psycopg processes beside m25: a worker and a client.

They make the same statements on plain connections, one after the other: what they take is the
server's, the kernel's and psycopg's.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar
from uuid import uuid4

import psycopg

from m25._store.protocol import NewJob, Outcome
from m25._store.statements import load_statements
from m25._store.steps import Calls, Steps

T = TypeVar("T")

CALLS = Calls("m25")
STATEMENTS = load_statements("m25")


def connect(dsn: str) -> psycopg.Connection:
    return psycopg.connect(dsn, autocommit=True)


def run(connection: psycopg.Connection, steps: Steps[T]) -> T:
    """Make a call of the store on a plain connection."""
    try:
        statement = next(steps)
        while True:
            cursor = connection.execute(
                STATEMENTS[statement.name], statement.parameters, prepare=True
            )
            statement = steps.send(cursor.fetchall())
    except StopIteration as done:
        answer: T = done.value
        return answer


def work(dsn: str, queue: str, output_of: Callable[[str], str]) -> None:
    """The worker of a queue: from the JSON of each input it makes that of the output."""
    with connect(dsn) as listening, connect(dsn) as connection:
        listening.execute(f'listen "{CALLS.channel(queue)}"')
        print("ready", flush=True)
        for _ in listening.notifies():
            token = str(uuid4())
            lease = timedelta(seconds=30)
            for row in run(
                connection,
                CALLS.claim(
                    queue, token=token, limit=10, lease=lease, start=True, after=(), on_rows=None
                ),
            ):
                output = output_of(row.input)
                outcome = Outcome(row.id, token, None, output, None, None, None, None, None)
                run(connection, CALLS.settle([outcome], 3))


def enqueue(
    connection: psycopg.Connection, queue: str, id: str, value: str, waiter: str | None = None
) -> None:
    """Put a job on a queue as m25 does; its input is `value`, as JSON."""
    job = NewJob(
        id=id,
        queue_name=queue,
        scheduled_at=None,
        input=value,
        timeout=timedelta(minutes=5),
        max_attempts=1,
        retry_delay=timedelta(0),
        unique_key=None,
        priority=0,
        meta=None,
        waiter=waiter,
    )
    run(connection, CALLS.enqueue([job], [queue]))


def pause(number: int) -> float:
    """Idle again before the next, and not in step with anything, in seconds."""
    return 0.02 + 0.001 * (number % 17)
