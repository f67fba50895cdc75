"""How often the setups of queues have failed, and which of these failures are told.

A setup that fails is tried again every few seconds. The first failure of a kind is told at once,
and those that follow ever more seldom, with their number, for as long as they come.
"""

from __future__ import annotations

from typing import Final

import attrs
import trio

#: For how long a failure of the same kind is not told, in seconds: at first, and at most.
_FIRST_SILENCE: Final = 10.0
_LONGEST_SILENCE: Final = 300.0


@attrs.define
class _Kind:
    """The failures of one kind."""

    failures: int = 0
    silence: float = _FIRST_SILENCE
    failed_at: float = 0.0
    tell_at: float = 0.0


class SetupFailures:
    """One for each client."""

    def __init__(self) -> None:
        self._kinds: dict[tuple[str, str], _Kind] = {}

    def count(self, queue_name: str, kind: str) -> int | None:
        """Count a failure; return how many there were, or `None` if this one is not to be told.

        Args:
            queue_name: the queue's name.
            kind: what is one kind of failure, such as the name of an error's class.
        """
        now = trio.current_time()
        found = self._kinds.get((queue_name, kind))
        if found is None or now - found.failed_at > _LONGEST_SILENCE:
            found = self._kinds[queue_name, kind] = _Kind(tell_at=now)
        found.failures += 1
        found.failed_at = now
        if now < found.tell_at:
            return None
        found.tell_at = now + found.silence
        found.silence = min(2 * found.silence, _LONGEST_SILENCE)
        return found.failures
