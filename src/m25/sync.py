"""Jobs from programs without Trio: enqueue, read and cancel on a connection that they have.

    import m25.sync

    with connection.transaction():
        connection.execute("insert into customer …")
        m25.sync.enqueue(connection, emails, Email(to="ada@example.org"))

A connection is a `psycopg.Connection`, a `Connection` or `Session` of SQLAlchemy, or the
`connection` of Django. What is done is a part of *its* transaction: there if that commits, and not
if it is rolled back. To import this module costs next to nothing: what it needs is imported at the
first call.
"""

from typing import TYPE_CHECKING

from .pg._lazy import lazy_names

__all__ = ["cancel", "enqueue", "enqueue_many", "get", "result"]

if TYPE_CHECKING:
    from ._sync.calls import cancel, enqueue, enqueue_many, get, result
else:
    __getattr__, __dir__ = lazy_names(__name__, {"m25._sync.calls": __all__})
