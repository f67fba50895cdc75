"""Order by key: the options `ordered_by` and `if_failed` of a queue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from ._errors import InvalidQueue
from ._limits import check_path

if TYPE_CHECKING:
    from ._queue import Queue

#: What becomes of the jobs behind one that has failed for good: they are held until somebody has
#: retried, skipped or deleted it, or they pass it.
IfFailed: TypeAlias = Literal["hold", "pass"]

_IF_FAILED: Final = ("hold", "pass")


def check_order(_: str, value: object) -> None:
    """Check a queue's option `ordered_by`."""
    if value is not None:
        check_path(value, "ordered_by")


def check_if_failed(name: str, value: object) -> None:
    """Check a queue's option `if_failed`."""
    if value not in _IF_FAILED:
        known = " or ".join(map(repr, _IF_FAILED))
        raise InvalidQueue(f"{name} must be {known}, not {value!r:.80}")


def check_alone(queue: Queue[Any, Any, Any]) -> None:
    """Check what cannot be had with an order, and what needs one.

    Raises:
        InvalidQueue: a queue has both an order and another way to treat keys; or it says what
            becomes of those behind a job, and has no order.
    """
    if queue.ordered_by is None:
        if queue.if_failed != "hold":
            raise InvalidQueue(
                "if_failed says what becomes of the jobs behind one that has failed, and without"
                " ordered_by none is behind another: give ordered_by, or leave if_failed out"
            )
        return
    if queue.fair_by is not None:
        raise InvalidQueue("a queue has either ordered_by or fair_by: leave one of them out")
    if queue.limit is not None and queue.limit.key is not None:
        raise InvalidQueue(
            "a queue with ordered_by can have a limit for all of its jobs, and none for each key:"
            " of each key of its order one job runs at once"
        )
    if queue.rate is not None and queue.rate.reads_inputs:
        raise InvalidQueue(
            "a queue with ordered_by can have a rate for all of its jobs, and none with a key or a"
            " cost: leave these out"
        )
