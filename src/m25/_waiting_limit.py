"""How many handlers of a process may be without a slot, since they wait for jobs."""

from __future__ import annotations

from typing import Final

import attrs

#: Unless `m25.open` is told otherwise.
MOST_WAITING: Final = 1_000


@attrs.define
class WaitingLimit:
    """One for each client."""

    most: int = MOST_WAITING
    count: int = 0
    #: Whether an event has said that there are too many, and there were no fewer since.
    is_told: bool = False


def check_most_waiting(most: object) -> int:
    """Check what a caller gives as `max_waiting`.

    Raises:
        ValueError: it is no whole number from 0 on.
    """
    if not isinstance(most, int) or isinstance(most, bool) or most < 0:
        raise ValueError(f"max_waiting must be a whole number from 0 on, not {most!r:.80}")
    return most
