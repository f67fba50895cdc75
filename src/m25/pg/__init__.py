"""PostgreSQL under Trio: psycopg's async connection, a pool of them, and a listener.

It is psycopg, with the same names and the same behaviour; only who waits is different: Trio, with no
asyncio and no threads in the path of a query. It knows nothing of jobs.
"""

from ._connection import AsyncConnection
from ._conninfo import describe, normalize
from ._listener import Gap, Listener, Notification
from ._pool import Pool, PoolClosed, PoolStats, PoolTimeout

__all__ = [
    "AsyncConnection",
    "Gap",
    "Listener",
    "Notification",
    "Pool",
    "PoolClosed",
    "PoolStats",
    "PoolTimeout",
    "describe",
    "normalize",
]
