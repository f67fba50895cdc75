"""A limit on how many jobs run at once, over all processes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import attrs

from ._errors import InvalidQueue
from ._text import check_text

if TYPE_CHECKING:
    from ._queue import Queue

#: The largest limit: what runs under one is counted at each claim.
_LARGEST: Final = 10_000
#: In characters: of a limit's name, and of each part of a path.
_LONGEST: Final = 200


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


def _check_key(_: Limit, __: attrs.Attribute[str | None], value: object) -> None:
    if value is None:
        return
    if callable(value):
        raise InvalidQueue(
            "the key of a limit must be a path into the input's JSON, such as 'customer' or"
            " 'customer.id', not a function: it is read where the jobs are counted, in the database"
        )
    for part in check_text(value, "the key of a limit", InvalidQueue).split("."):
        if not 0 < len(part) <= _LONGEST:
            raise InvalidQueue(
                f"the key of a limit must be names with dots in between, of up to {_LONGEST}"
                f" characters each, such as 'customer.id'; not {value!r:.80}"
            )


def _check_name(_: Limit, __: attrs.Attribute[str | None], value: object) -> None:
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
    key: str | None = attrs.field(default=None, kw_only=True, validator=_check_key)
    name: str | None = attrs.field(default=None, kw_only=True, validator=_check_name)

    @property
    def path(self) -> Sequence[str] | None:
        """The key's path, name by name."""
        return None if self.key is None else self.key.split(".")


def check_alike(queue: Queue[Any, Any, Any], other: Queue[Any, Any, Any]) -> None:
    """Check that two queues which share a limit say the same of it.

    Raises:
        InvalidQueue: one allows more than the other, or one has a key, and the other has none.
    """
    if queue.limit is None or other.limit is None or queue.limiter_name != other.limiter_name:
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
