"""PostgreSQL under Trio: psycopg's async connection, a pool of them, and a listener.

It is psycopg, with the same names and the same behaviour; only who waits is different: Trio, with
no asyncio and no threads in the path of a query. It knows nothing of jobs.
"""

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
from ._listener import Event, Gap, Listener, Notification
from ._mistakes import check_connection
from ._pool import Pool
from ._pool_state import PoolStats

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
