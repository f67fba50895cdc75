"""Failures of the store, as tests have its calls raise them."""

from __future__ import annotations

import psycopg

from m25._store.failures import StatementFailed, sort_error


def connection_lost(call: str = "claim", text: str = "connection lost") -> StatementFailed:
    """What a call of the store raises whose connection died."""
    return sort_error(call, psycopg.OperationalError(text))
