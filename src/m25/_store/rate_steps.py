"""What turns of rates, and delays of them, ask of a database, as steps."""

from __future__ import annotations

from collections.abc import Sequence

from .limited_steps import lock_limit
from .parameters import array, interval
from .protocol import RateHold, Turn
from .steps import Statement, Steps


def hold_rate(limiter: str, holds: Sequence[RateHold], *, reads_inputs: bool) -> Steps[None]:
    """See `Store.hold_rate`."""
    parameters = {
        "limiter": limiter,
        "key": array(hold.key for hold in holds),
        "delay": array(interval(hold.delay) for hold in holds),
        "reads_inputs": "true" if reads_inputs else "false",
    }
    yield Statement("hold_rate", parameters, after=lock_limit(limiter))


def take_turn(limiter: str, key: str | None, cost: int) -> Steps[Turn | None]:
    """See `Store.take_turn`."""
    parameters = {"limiter": limiter, "key": key, "cost": str(cost)}
    rows = yield Statement("take_turn", parameters, after=lock_limit(limiter))
    return Turn(*rows[0]) if rows else None
