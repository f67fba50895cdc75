"""A pool beside another one: the same connections, for other hands; and how long one may take."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import psycopg

from ._hosts import timed_attempts
from ._pool import Pool
from ._pool_state import C

#: What `connect` is given besides the parameters of libpq's.
_NOT_OF_THE_ADDRESS: Final = frozenset(
    {"autocommit", "prepare_threshold", "context", "row_factory", "cursor_factory"}
)


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


async def patience_to_connect(pool: Pool[C]) -> float:
    """How long to wait for the first connection of a pool, in seconds: until each host of its
    address has been tried, and then as long as for any other.
    """
    made = pool._connection_class
    given = {name: value for name, value in pool._kwargs.items() if name not in _NOT_OF_THE_ADDRESS}
    try:
        params = await made._get_connection_params(pool.conninfo, **given)
        hosts, timeout = await timed_attempts(params, made.liveness)
    except psycopg.Error:
        # To connect says it better; or a class of the user's knows what is meant.
        return pool._timeout
    return len(hosts) * timeout + pool._timeout
