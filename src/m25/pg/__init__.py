"""PostgreSQL under Trio: psycopg's async connection, a pool of them, and a listener.

It is psycopg, with the same names and the same behaviour; only who waits is different: Trio, with
no asyncio and no threads in the path of a query. It knows nothing of jobs.
"""

from typing import TYPE_CHECKING

from ._lazy import lazy_names

if TYPE_CHECKING:
    from ._connection import AsyncConnection
    from ._conninfo import LIVENESS, SERVER_LIVENESS, describe, normalize
    from ._cursor import (
        AsyncClientCursor,
        AsyncCursor,
        AsyncRawCursor,
        AsyncRawServerCursor,
        AsyncServerCursor,
    )
    from ._errors import OutcomeUnknown, PoolClosed, PoolTimeout
    from ._hearers import Event, Gap, Notification
    from ._listener import Listener
    from ._mistakes import check_connection
    from ._pool import Pool
    from ._pool_state import PoolStats
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "._connection": ("AsyncConnection",),
            "._conninfo": ("LIVENESS", "SERVER_LIVENESS", "describe", "normalize"),
            "._cursor": (
                "AsyncClientCursor",
                "AsyncCursor",
                "AsyncRawCursor",
                "AsyncRawServerCursor",
                "AsyncServerCursor",
            ),
            "._errors": ("OutcomeUnknown", "PoolClosed", "PoolTimeout"),
            "._hearers": ("Event", "Gap", "Notification"),
            "._listener": ("Listener",),
            "._mistakes": ("check_connection",),
            "._pool": ("Pool",),
            "._pool_state": ("PoolStats",),
        },
    )


__all__ = [
    "LIVENESS",
    "SERVER_LIVENESS",
    "AsyncClientCursor",
    "AsyncConnection",
    "AsyncCursor",
    "AsyncRawCursor",
    "AsyncRawServerCursor",
    "AsyncServerCursor",
    "Event",
    "Gap",
    "Listener",
    "Notification",
    "OutcomeUnknown",
    "Pool",
    "PoolClosed",
    "PoolStats",
    "PoolTimeout",
    "check_connection",
    "describe",
    "normalize",
]
