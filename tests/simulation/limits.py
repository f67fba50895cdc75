"""How much may happen in a history: by less and less of it, one that fails is made small."""

from __future__ import annotations

from typing import Final

import attrs

#: What may be done to a process, happen to a call of its, or be done to the table by a stranger.
FAULTS: Final = (
    *("kill", "freeze", "stop", "error-before", "error-after", "uncommitted", "delay"),
    *("no-resource", "lock", "cancel", "unheard"),
)
MOST_JOBS: Final = 60
#: Of a history without a hurry.
MOST_JOBS_AT_LEISURE: Final = 16
MOST_WORKERS: Final = 3


@attrs.frozen
class Limits:
    """Of what its seed makes happen in a history, no more than this."""

    faults: frozenset[str] = frozenset(FAULTS)
    jobs: int = MOST_JOBS
    workers: int = MOST_WORKERS
