"""Errors that psycopg does not have."""

from __future__ import annotations

import psycopg


class OutcomeUnknown(psycopg.OperationalError):
    """The server was asked to commit and did not answer: the transaction is committed or rolled
    back, and only a look at what it has written can tell which. The connection is closed.
    """


class PoolTimeout(psycopg.OperationalError):
    """No connection was free, or could be opened, within the timeout.

    Its cause is the latest error in opening one, if that was why.
    """


class PoolClosed(psycopg.OperationalError):
    """The pool's `async with` block has been left, or was not entered."""
