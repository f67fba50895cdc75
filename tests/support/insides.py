"""The one way of tests into a client's insides."""

from __future__ import annotations

from typing import Any

import m25


def store_of(m: m25.M25) -> Any:
    """What a client asks the database by.

    It is for tests that ask as another process would, or that make one call fail at a moment which
    no database can be brought to. `Any`: such tests put calls of their own in place of its calls.
    """
    return m._runtime.store
