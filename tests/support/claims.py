"""By which claim a handler runs: m25 keeps that from handlers, and the checkers need it."""

from __future__ import annotations

from typing import Any

from m25._running_job import current_attempt


def claim_token() -> str:
    """The token of the claim by which the calling handler runs."""
    executor: Any = current_attempt.get()
    return str(executor.job.token)
