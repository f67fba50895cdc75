"""Knows whether the calling task is within a transaction that m25 has opened for a job's handler.

Such a transaction is to be short: while it is open it holds a connection, and every row that it has
written stays locked. So nothing that waits for other jobs, for people or for time may be called in
it; and what a handler keeps outside of it would be kept even where it is rolled back.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from ._errors import UsageError

#: In words, whose transaction is open; set in the task that has opened it, and so in all tasks
#: which that starts.
_transaction: Final[ContextVar[str | None]] = ContextVar("m25_transaction", default=None)


@contextmanager
def in_transaction(of: str) -> Generator[None]:
    """A block within a transaction; `of` says in words whose it is."""
    token = _transaction.set(of)
    try:
        yield
    finally:
        _transaction.reset(token)


def refuse_in_transaction(what: str) -> None:
    """Refuse a call that must not be made within a transaction of m25's.

    Args:
        what: the call, as its caller wrote it: `job.sleep()`.

    Raises:
        UsageError: the calling task is within such a transaction.
    """
    of = _transaction.get()
    if of is not None:
        raise UsageError(
            f"{what} cannot be called within {of}: the transaction would stay open, and what it has"
            " written locked; call it before or after, in a handler without transactional=True"
        )
