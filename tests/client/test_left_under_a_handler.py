"""The block is left by an error while a handler cannot be cancelled for long."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio

import m25
from support.told import told
from support.waiting import chain


class Broken(Exception):
    pass


#: Runs a client's queues.
Start = Callable[[m25.M25, trio.Nursery], Awaitable[None]]


async def start_in_the_client(m: m25.M25, nursery: trio.Nursery) -> None:
    await m.start()


async def start_in_a_nursery_of_the_callers(m: m25.M25, nursery: trio.Nursery) -> None:
    await nursery.start(m.run)


@pytest.mark.parametrize(
    ("start", "how"),
    [
        (start_in_the_client, "error"),
        (start_in_the_client, "cancellation"),
        pytest.param(start_in_a_nursery_of_the_callers, "error", marks=pytest.mark.slow),
        (start_in_a_nursery_of_the_callers, "cancellation"),
    ],
)
async def test_its_result_is_written_however_the_block_is_left(
    dsn: str, caplog: pytest.LogCaptureFixture, start: Start, how: str
) -> None:
    begun = trio.Event()
    leaving = trio.Event()

    # Longer than its lease; and where no nursery of the client's waits for the handler, longer than
    # any clean-up of m25's.
    seconds = 11.0 if how == "error" and start is not start_in_the_client else 2.5

    @m25.queue("shielded", heartbeat_interval=0.25, allowed_heartbeat_misses=4, poll_interval=0.2)
    async def shielded(seconds: float) -> str:
        with trio.CancelScope(shield=True):
            begun.set()
            await leaving.wait()
            await trio.sleep(seconds)
        return "done"

    async with m25.open(dsn) as other:
        # Who would take the job over.
        other.add_queue(shielded)
        with trio.fail_after(60):
            with trio.CancelScope() as scope:
                try:
                    async with trio.open_nursery() as nursery, m25.open(dsn) as m:
                        m.add_queue(shielded)
                        record = await m.enqueue(shielded, seconds)
                        await start(m, nursery)
                        await begun.wait()
                        await other.start()
                        leaving.set()
                        if how == "error":
                            raise Broken
                        scope.cancel()
                        await trio.sleep_forever()
                except* Broken:
                    pass
            (row,) = await chain(dsn, record.id)
    assert (row["status"], row["output"], row["attempt"]) == ("succeeded", "done", 1)
    assert told(caplog) == []
