"""Limits on how many jobs run at once, and on how many begin, over all processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import attrs

from ._duration import LONGEST, Duration, as_timedelta
from ._errors import InvalidQueue
from ._text import check_text

if TYPE_CHECKING:
    from ._queue import Queue

#: The largest limit: what runs under one is counted at each claim.
_LARGEST: Final = 10_000
#: In characters: of a limit's name, and of each part of a path.
_LONGEST: Final = 200
#: Claims come one after the other.
_SHORTEST_INTERVAL: Final = timedelta(milliseconds=1)


def _check_size(_: Limit, __: attrs.Attribute[int], value: object) -> None:
    check_size(value)


def check_size(value: object) -> int:
    """Check how many jobs are to run at once.

    Raises:
        InvalidQueue: it is no whole number from 1 to 10,000.
    """
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _LARGEST:
        raise InvalidQueue(
            f"a limit must be a whole number from 1 to {_LARGEST:,}, not {value!r:.80}; a queue of"
            " which none is to run is paused, by m.pause"
        )
    return value


def check_limit(name: str, value: object) -> None:
    """Check a queue's option."""
    if value is not None and not isinstance(value, Limit):
        raise InvalidQueue(f"{name} must be a m25.Limit, as in m25.Limit(5), not {value!r:.80}")


def _check_read(
    name: str,
) -> Callable[[Limit | Rate, attrs.Attribute[str | None], object], None]:
    """A check of what is read from the inputs of jobs."""

    def check(_: Limit | Rate, __: attrs.Attribute[str | None], value: object) -> None:
        if value is None:
            return
        if callable(value):
            raise InvalidQueue(
                f"{name} must be a path into the input's JSON, such as 'customer' or 'customer.id',"
                " not a function: it is read where the jobs are counted, in the database"
            )
        check_path(value, name)

    return check


def _path(value: str | None) -> Sequence[str] | None:
    return None if value is None else value.split(".")


def check_path(value: object, name: str) -> None:
    """Check a path into the JSON of inputs.

    Raises:
        InvalidQueue: it is none.
    """
    for part in check_text(value, name, InvalidQueue).split("."):
        if not 0 < len(part) <= _LONGEST:
            raise InvalidQueue(
                f"{name} must be names with dots in between, of up to {_LONGEST}"
                f" characters each, such as 'customer.id'; not {value!r:.80}"
            )


def _check_name(_: object, __: attrs.Attribute[str | None], value: object) -> None:
    if value is not None and len(check_text(value, "the name of a limit", InvalidQueue)) > _LONGEST:
        raise InvalidQueue(f"the name of a limit must be at most {_LONGEST} characters long")


@attrs.frozen
class Limit:
    """How many jobs run at once, in all processes together: `m25.Limit(5, key="customer")`.

    Args:
        size: how many, from 1 to 10,000.
        key: a path into the input's JSON, by its names with dots in between: as many may run of
            each value that is found there. Without it, as many of all.
        name: that of a limit which several queues share. Without it the limit is the queue's own,
            and has its name.

    Raises:
        InvalidQueue: it is none of these.
    """

    size: int = attrs.field(validator=_check_size)
    key: str | None = attrs.field(
        default=None, kw_only=True, validator=_check_read("the key of a limit")
    )
    name: str | None = attrs.field(default=None, kw_only=True, validator=_check_name)

    @property
    def path(self) -> Sequence[str] | None:
        """The key's path, name by name."""
        return _path(self.key)


def _per(value: Duration) -> timedelta:
    return as_timedelta(value, "the time of a rate", InvalidQueue)


def _check_count(name: str, low: int) -> Callable[[Rate, attrs.Attribute[int], object], None]:
    def check(_: Rate, __: attrs.Attribute[int], value: object) -> None:
        if not isinstance(value, int) or isinstance(value, bool):
            raise InvalidQueue(f"{name} must be a whole number, not {value!r:.80}")
        if not low <= value <= _LARGEST:
            raise InvalidQueue(f"{name} must be from {low} to {_LARGEST:,}")

    return check


@attrs.frozen
class Rate:
    """How many jobs begin in a time, in all processes together: `m25.Rate(60, per=60)`.

    They begin one after the other, each `per / number` after the one before. Up to `burst` of them
    that were not used when they might have been may begin at once later. So in no time of this
    length more than `number + burst` begin.

    With a key, as many of each value begin, whatever becomes of the others. With a cost, jobs are
    counted by what they cost: what costs 10 is followed as late as ten jobs are.

    Args:
        number: how many, from 1 to 10,000.
        per: in how long, in seconds or as a `timedelta`.
        burst: how many may begin beyond that, from 1 to 10,000, and as many as are saved up within
            a century.
        key: a path into the input's JSON, by its names with dots in between: each value that is
            found there has a clock of its own. Without it, all jobs have one.
        cost: a path to a number in the input's JSON: for how many a job counts, rounded up to a
            whole number, from 1 to a million; 1 where no number is found. One that costs more than
            `burst + 1` begins once all of the burst is saved up.
        name: that of a rate which several queues share, and that of their limit, if they have one.
            Without it the rate is the queue's own.

    Raises:
        InvalidQueue: it is none of these.
    """

    number: int = attrs.field(validator=_check_count("the number of a rate", 1))
    per: timedelta = attrs.field(default=timedelta(seconds=1), kw_only=True, converter=_per)
    burst: int = attrs.field(
        default=1, kw_only=True, validator=_check_count("the burst of a rate", 1)
    )
    key: str | None = attrs.field(
        default=None, kw_only=True, validator=_check_read("the key of a rate")
    )
    cost: str | None = attrs.field(
        default=None, kw_only=True, validator=_check_read("the cost of a rate")
    )
    name: str | None = attrs.field(default=None, kw_only=True, validator=_check_name)

    def __attrs_post_init__(self) -> None:
        if self.interval < _SHORTEST_INTERVAL:
            raise InvalidQueue(
                f"{self.number} in {self.per} is a rate of more than a thousand in a second"
            )
        if self.burst * self.interval > LONGEST:
            raise InvalidQueue(
                f"a burst of {self.burst:,} at {self.number:,} in {self.per} is saved up in more"
                " than a century: give a smaller one"
            )

    @property
    def interval(self) -> timedelta:
        """How much time lies between two jobs that begin; a fraction of a microsecond is rounded
        up, as less would be one more in the time.
        """
        return -(-self.per // self.number)

    @property
    def path(self) -> Sequence[str] | None:
        """The key's path, name by name."""
        return _path(self.key)

    @property
    def cost_path(self) -> Sequence[str] | None:
        """The cost's path, name by name."""
        return _path(self.cost)

    @property
    def reads_inputs(self) -> bool:
        """Whether jobs differ by what is in their inputs."""
        return self.key is not None or self.cost is not None


def check_rate(name: str, value: object) -> None:
    """Check a queue's option."""
    if value is not None and not isinstance(value, Rate):
        raise InvalidQueue(
            f"{name} must be a m25.Rate, as in m25.Rate(60, per=60), not {value!r:.80}"
        )


def limiter_name(queue_name: str, limit: Limit | None, rate: Rate | None) -> str | None:
    """The name of what limits a queue, if anything does.

    Raises:
        InvalidQueue: its limit and its rate are shared with other queues by different names.
    """
    if limit is None or rate is None:
        one = limit or rate
        return None if one is None else one.name or queue_name
    if limit.name != rate.name:
        raise InvalidQueue(
            f"the limit and the rate of a queue need the same name, or none: {limit.name!r} is"
            f" that of the limit, and {rate.name!r} that of the rate"
        )
    return limit.name or queue_name


def check_one_key(queue: Queue[Any, Any, Any]) -> None:
    """Check that one option of a queue alone reads a key from its jobs.

    Raises:
        InvalidQueue: two of them do.
    """
    if queue.rate is not None and queue.rate.reads_inputs:
        if queue.limit is not None and queue.limit.key is not None:
            raise InvalidQueue(
                "a queue whose rate has a key or a cost can have a limit for all of its jobs, and"
                " none for each key: leave out the key of the limit"
            )
        if queue.fair_by is not None:
            raise InvalidQueue(
                "a queue with fair_by can have a rate for all of its jobs, and none with a key or"
                " a cost: leave out either fair_by or these"
            )
    if queue.fair_by is not None and queue.limit is not None and queue.limit.key is not None:
        raise InvalidQueue(
            "a queue with fair_by can have a limit for all of its jobs, and none for each key:"
            " leave out either fair_by or the key of the limit"
        )


def check_alike(queue: Queue[Any, Any, Any], other: Queue[Any, Any, Any]) -> None:
    """Check that two queues which share a limit say the same of it.

    Raises:
        InvalidQueue: one allows more than the other, or one has a key or a rate that the other has
            not.
    """
    if queue.limiter_name is None or queue.limiter_name != other.limiter_name:
        return
    if queue.rate != other.rate or (queue.limit is None) != (other.limit is None):
        raise InvalidQueue(
            f"queues {queue.name!r} and {other.name!r} share the limit {queue.limiter_name!r}: give"
            " both the same Limit, and the same Rate"
        )
    if queue.limit is None or other.limit is None:
        return
    if queue.limit.size != other.limit.size:
        raise InvalidQueue(
            f"queues {queue.name!r} and {other.name!r} share the limit {queue.limiter_name!r}, and"
            f" declare that {queue.limit.size} may run at once, and {other.limit.size}: say it"
            " once, and give both the same Limit"
        )
    if (queue.limit.key is None) != (other.limit.key is None):
        raise InvalidQueue(
            f"queues {queue.name!r} and {other.name!r} share the limit {queue.limiter_name!r}, and"
            " only one of them counts by a key"
        )
