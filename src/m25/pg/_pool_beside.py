"""A pool beside another one: the same connections, for other hands."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from ._pool import Pool
from ._pool_state import C


def pool_beside(
    pool: Pool[C],
    *,
    min_size: int,
    max_size: int,
    timeout: float,
    configure: Callable[[C], Awaitable[None]],
) -> Pool[C]:
    """A pool of its own, whose connections are opened exactly as those of `pool`: at its address,
    of its class, with its `kwargs`, and seen by its `configure`; after that by this one's.
    """
    first = pool._configure

    async def configure_both(connection: C) -> None:
        if first is not None:
            await first(connection)
        await configure(connection)

    return Pool(
        pool.conninfo,
        connection_class=pool._connection_class,
        kwargs=pool._kwargs,
        min_size=min_size,
        max_size=max_size,
        timeout=timeout,
        configure=configure_both,
    )
