"""Failures of the store, as tests have its calls raise them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
import trio

import m25
from m25._store.failures import StatementFailed, sort_error


def connection_lost(call: str = "claim", text: str = "connection lost") -> StatementFailed:
    """What a call of the store raises whose connection died."""
    return sort_error(call, psycopg.OperationalError(text))


def failing(
    monkeypatch: pytest.MonkeyPatch,
    store: object,
    verb: str,
    error: Callable[[], Exception | None],
) -> None:
    """Let a verb of the store fail for as long as `error` returns something to raise."""
    original = getattr(store, verb)

    async def call(*arguments: Any, **options: Any) -> Any:
        await trio.lowlevel.checkpoint()
        if (raised := error()) is not None:
            raise raised
        return await original(*arguments, **options)

    monkeypatch.setattr(store, verb, call)


async def refused_start(m: m25.M25) -> m25.errors.QueueStartError:
    """The error of a client whose queues cannot start, once it says why they cannot.

    A start that is over before the database has answered knows of no reason: then it was too short.
    """
    for timeout in (0.3, 3.0, 30.0):
        with pytest.raises(m25.errors.QueueStartError) as caught:
            await m.start(timeout)
        if caught.value.__cause__ is not None:
            break
    return caught.value


def once(error: Exception) -> Callable[[], Exception | None]:
    errors = [error]
    return lambda: errors.pop() if errors else None
