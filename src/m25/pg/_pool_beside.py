"""A pool beside another one: the same connections, for other hands."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from ._pool import Pool
from ._pool_state import C


def pool_beside(
    pool: Pool[C],
    *,
    min_size: int = 0,
    max_size: int,
    timeout: float,
    configure: Callable[[C], Awaitable[None]] | None = None,
    reset: Callable[[C], Awaitable[None]] | None = None,
) -> Pool[C]:
    """A pool of its own, whose connections are opened as those of `pool`: at its address, of its
    class, with its `kwargs`. Of its hooks they have none: `configure` and `reset` are this one's.
    """
    return Pool(
        pool.conninfo,
        connection_class=pool._connection_class,
        kwargs=pool._kwargs,
        min_size=min_size,
        max_size=max_size,
        timeout=timeout,
        configure=configure,
        reset=reset,
    )
