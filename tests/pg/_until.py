"""Waiting for what cannot tell."""

from __future__ import annotations

from collections.abc import Callable

import trio

from support.waiting import PATIENCE


async def until(comes_true: Callable[[], bool]) -> None:
    """Look again and again."""
    with trio.fail_after(PATIENCE):
        while not comes_true():  # noqa: ASYNC110 - it sets no event
            await trio.sleep(0.005)
