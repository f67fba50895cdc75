"""Waiting for what cannot tell."""

from __future__ import annotations

from collections.abc import Callable

import trio


async def until(comes_true: Callable[[], bool], seconds: float = 5.0) -> None:
    """Look again and again, for so long at most."""
    with trio.fail_after(seconds):
        while not comes_true():  # noqa: ASYNC110 - it sets no event
            await trio.sleep(0.005)
