"""Errors that psycopg does not have."""

from __future__ import annotations

import psycopg


class OutcomeUnknown(psycopg.OperationalError):
    """The server was asked to commit and did not answer: the transaction is committed or rolled
    back, and only a look at what it has written can tell which. The connection is closed.
    """
