"""How calls that come at once share statements."""

from __future__ import annotations

from collections.abc import Sequence

import trio
from trio.testing import wait_all_tasks_blocked

from m25._batcher import Batcher

CALLERS, CALLS = 10, 5


async def test_callers_that_ask_again_at_once_go_together() -> None:
    sizes: list[int] = []

    async def send(requests: Sequence[int]) -> Sequence[int]:
        sizes.append(len(requests))
        await wait_all_tasks_blocked()
        return requests

    batcher = Batcher[int, int](send, RuntimeError)

    async def ask() -> None:
        for number in range(CALLS):
            assert await batcher.ask(number) == number

    async with trio.open_nursery() as nursery:
        nursery.start_soon(batcher.run)
        async with trio.open_nursery() as callers:
            for _ in range(CALLERS):
                callers.start_soon(ask)
        nursery.cancel_scope.cancel()
    assert sum(sizes) == CALLERS * CALLS
    # The first of all found nothing under way, and is one call ahead of the others since.
    assert sizes[1:] == [CALLERS] * (CALLS - 1) + [CALLERS - 1]
