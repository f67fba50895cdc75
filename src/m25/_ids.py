"""Ids of jobs: what users see of them, and how the client makes them.

They are UUIDs of version 7 (RFC 9562), in the order they were made. Made by the client, so that an
insert whose answer was lost can be repeated; in order, so that the primary key's index grows at one
end and jobs inserted in one statement, or one after the other in one transaction, keep their order.
"""

from __future__ import annotations

import hashlib
import os
import time
from datetime import datetime
from typing import Final, Self
from uuid import UUID

from ._errors import InvalidJob

_MILLISECOND: Final = 1_000_000
#: How finely an id has the time within its millisecond (RFC 9562, 6.2, method 3): by 244 ns.
_FRACTION_BITS: Final = 12
_VERSION: Final = 0x7 << 76
_VARIANT: Final = 0b10 << 62


class JobId(UUID):
    """The id of a job: of one attempt, to be exact, since a retry is a job of its own.

    A `UUID` in all respects: equal to the plain one, and written by psycopg and whatever else takes
    UUIDs. Made from a `UUID`, or from its text.

    Raises:
        InvalidJob: the text is not that of a UUID.
    """

    __slots__ = ()

    def __init__(self, value: UUID | str) -> None:
        try:
            if isinstance(value, UUID):
                super().__init__(int=value.int)
            else:
                super().__init__(value)
        except (ValueError, AttributeError, TypeError) as error:
            raise InvalidJob(f"a job id is a UUID or its text, not {value!r:.80}") from error

    @classmethod
    def parse(cls, text: str) -> Self:
        """The id of this text.

        Raises:
            InvalidJob: the text is not that of a UUID.
        """
        return cls(text)

    @property
    def value(self) -> UUID:
        """The plain `UUID`."""
        return UUID(int=self.int)


class IdSource:
    """Makes ids, each greater than the one before, as text.

    So are those of several sources, if one is made after the other and no clock is set back: calls
    from programs without Trio have a source each.
    """

    def __init__(self) -> None:
        # Milliseconds since the epoch and, in the lowest 12 bits, the fraction of the latest one.
        self._latest = 0

    def __call__(self) -> str:
        now = (time.time_ns() << _FRACTION_BITS) // _MILLISECOND
        # Where the clock stands still, or is set back, the ids go on by counting.
        self._latest = latest = now if now > self._latest else self._latest + 1
        milliseconds, fraction = latest >> _FRACTION_BITS, latest & ((1 << _FRACTION_BITS) - 1)
        random = int.from_bytes(os.urandom(8)) >> 2
        digits = f"{milliseconds << 80 | _VERSION | fraction << 64 | _VARIANT | random:032x}"
        return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def id_of_tick(schedule: str, tick: datetime) -> str:
    """The id of the job of a schedule's tick, as text: the same whoever makes it.

    Of the same kind as the others, its time is the tick's.
    """
    milliseconds = int(tick.timestamp() * 1_000) & ((1 << 48) - 1)
    rest = int.from_bytes(_digest_of_tick(schedule, tick)[:10]) & ~(0xF << 76) & ~(0b11 << 62)
    return str(UUID(int=milliseconds << 80 | _VERSION | _VARIANT | rest))


def spread_of_tick(schedule: str, tick: datetime) -> float:
    """A number from 0 to 1 for a schedule's tick: the same whoever asks, and others for others."""
    return int.from_bytes(_digest_of_tick(schedule, tick)[10:14]) / (1 << 32)


def _digest_of_tick(schedule: str, tick: datetime) -> bytes:
    return hashlib.sha256(f"{tick.isoformat()}\0{schedule}".encode()).digest()
