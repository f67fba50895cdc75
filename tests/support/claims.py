"""By which claim a handler runs: m25 keeps that from handlers, and the checkers need it."""

from __future__ import annotations

from m25._worker import executor


def claim_token() -> str:
    """The token of the claim by which the calling handler runs."""
    return executor._current.get().job.token
