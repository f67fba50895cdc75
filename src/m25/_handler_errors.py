"""What a handler raises to say what is to become of its job, and the error of a missed deadline.

Each counts where it is raised by itself, or as the only exception of a group, as a declared error
does. Among others in a group it is a part of a crash.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TypeAlias

from ._duration import Duration, as_timedelta
from ._errors import M25Error


class RetryAfter(M25Error):
    """Raised by a handler: the attempt has failed, and the next may run after `delay`.

    The attempt counts: where none is left, none follows. `delay` is in seconds or a `timedelta`,
    and goes before that of the job and the queue.

    With `whole_rate`, no other job begins before that by the rate of the queue, or by that of the
    job's key, where the rate has one: the other side has had too much, as a 429 of HTTP says. This
    is so whether an attempt is left or not. On a queue without a rate it says nothing.

    Raised `from` another exception, that one is what the job's record keeps: as its error, if the
    queue declares it, else as a crash.

    Raises:
        ValueError: `delay` is negative, or no duration.
    """

    def __init__(self, delay: Duration, *, whole_rate: bool = False) -> None:
        self.delay: timedelta = as_timedelta(delay, "delay", ValueError, zero=True)
        self.whole_rate = whole_rate
        super().__init__(f"to be tried again after {self.delay.total_seconds():g} s")


class GiveUp(M25Error):
    """Raised by a handler: the attempt has failed, and no other follows, whatever is left.

    Raised `from` another exception, that one is what the job's record keeps: as its error, if the
    queue declares it, else as a crash. Without one the attempt has crashed, with this message.
    """


class Snooze(M25Error):
    """Raised by a handler: its attempt is handed back, and due again after `delay`.

    The attempt does not count, and the job is pending meanwhile. `delay` is in seconds or a
    `timedelta`. Where `allowed_losses` is 0, a handler that has begun must not begin again: the
    attempt then ends as a crash.

    Raises:
        ValueError: `delay` is negative, or no duration.
    """

    def __init__(self, delay: Duration) -> None:
        self.delay: timedelta = as_timedelta(delay, "delay", ValueError, zero=True)
        super().__init__(f"put off for {self.delay.total_seconds():g} s")


#: What a handler may ask for by raising it.
Request: TypeAlias = RetryAfter | GiveUp | Snooze


class JobTimeout(M25Error):
    """A handler was still running at its deadline, after `seconds`.

    It is not raised: `Retry.on` names it, and a function that decides about retries is given it.
    Its `__cause__` is what the handler raised while it was being cancelled, if it did.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the handler was still running after {seconds:g} s")
        self.seconds = seconds
