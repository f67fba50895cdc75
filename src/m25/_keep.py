"""`Keep`: for how long a queue's jobs are kept once they have ended."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import attrs

from ._duration import Duration, as_timedelta
from ._errors import InvalidQueue


def _duration(value: Duration | None) -> timedelta | None:
    return None if value is None else as_timedelta(value, "a time of Keep", InvalidQueue)


@attrs.frozen(kw_only=True)
class Keep:
    """For how long jobs are kept once they have ended: `Keep(succeeded=timedelta(days=7))`.

    Each is in seconds, or a `timedelta`; `None` is for ever. A job is kept with all its attempts
    and all that it has started, until its last attempt has ended for that long.

    Raises:
        InvalidQueue: a time is none, or none is given.
    """

    succeeded: timedelta | None = attrs.field(default=None, converter=_duration)
    failed: timedelta | None = attrs.field(default=None, converter=_duration)
    cancelled: timedelta | None = attrs.field(default=None, converter=_duration)

    def __attrs_post_init__(self) -> None:
        if self.shortest is None:
            raise InvalidQueue(
                "a Keep says for how long: give succeeded=, failed= or cancelled=; a queue without"
                " one keeps its jobs for ever"
            )

    @property
    def shortest(self) -> timedelta | None:
        """The shortest of the times."""
        times = (self.succeeded, self.failed, self.cancelled)
        return min((time for time in times if time is not None), default=None)


def check_keep(name: str, value: Any) -> None:
    """Check a queue's option."""
    if value is not None and not isinstance(value, Keep):
        raise InvalidQueue(
            f"{name} must be a m25.Keep, as in m25.Keep(succeeded=timedelta(days=7)), not"
            f" {value!r:.80}"
        )
