"""`Batch`: handlers that are called with several jobs at once, and what their annotations say."""

from __future__ import annotations

import types
import typing
from collections.abc import Collection, Iterable, Sequence
from datetime import timedelta
from types import NoneType
from typing import TYPE_CHECKING, Any, Final, Union, cast

import attrs

from ._duration import as_timedelta
from ._errors import InvalidQueue
from ._signature import described

if TYPE_CHECKING:
    from ._queue import Queue

#: The largest batch: it is claimed by one statement, and its outcomes come at once.
LARGEST_BATCH: Final = 1_000
#: The longest that the first job of a batch waits for others.
_LONGEST_WAIT: Final = timedelta(minutes=1)

#: As what a handler may take its inputs. It is given a list.
_LISTS: Final[Sequence[Any]] = (list, Sequence, Collection, Iterable)
#: As what it may return its outcomes.
_RETURNED: Final[Sequence[Any]] = (list, Sequence)


def _as_wait(value: Any) -> timedelta:
    return as_timedelta(value, "wait", InvalidQueue, zero=True)


def _check_size(_: Batch, __: attrs.Attribute[int], value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= LARGEST_BATCH:
        raise InvalidQueue(
            f"the size of a batch must be a whole number from 1 to {LARGEST_BATCH}, not"
            f" {value!r:.80}"
        )


def _check_wait(_: Batch, __: attrs.Attribute[timedelta], value: timedelta) -> None:
    if value > _LONGEST_WAIT:
        raise InvalidQueue(f"wait must be at most {_LONGEST_WAIT.total_seconds():g} s, not {value}")


@attrs.frozen
class Batch:
    """How many jobs a handler is called with at once: `m25.Batch(100, wait=0.2)`.

    Args:
        size: how many at most, from 1 to 1,000. A call takes one slot of `max_concurrency`, however
            many jobs it has.
        wait: how long jobs that come to an idle queue wait for others, in seconds or as a
            `timedelta`, up to a minute; they are pending meanwhile. Without it, and where there is
            a backlog, what is due is run at once.

    Raises:
        InvalidQueue: it is out of range.
    """

    size: int = attrs.field(validator=_check_size)
    wait: timedelta = attrs.field(
        default=timedelta(0), kw_only=True, converter=_as_wait, validator=_check_wait
    )


def check_batch(name: str, value: object) -> None:
    """Check a queue's option."""
    if value is not None and not isinstance(value, Batch):
        raise InvalidQueue(f"{name} must be a m25.Batch, such as m25.Batch(100), not {value!r:.80}")


def check_batch_queue(queue: Queue[Any, Any, Any]) -> None:
    """Check that the other options of a queue can be had with batches."""
    for is_given, option, why in (
        (
            queue.runs != "trio",
            f"runs={queue.runs!r}",
            "a thread or a process is called with one job",
        ),
        (
            queue.transactional,
            "transactional=True",
            "its commit is the success of a job, and the jobs of a batch succeed one by one",
        ),
        (queue.setup is not None, "setup", "it is entered for each job; `lifespan` can be had"),
        (queue.limit is not None, "limit", "it counts handlers, and a batch has one for many jobs"),
        (
            queue.exclusive,
            "exclusive=True",
            "a job whose lease cannot be renewed is cancelled, and here that would end all others",
        ),
        (
            queue.rate is not None,
            "rate",
            "it says when each job begins, and a batch begins at once",
        ),
        (queue.fair_by is not None, "fair_by", "its keys take turns, and a batch begins at once"),
        (queue.ordered_by is not None, "ordered_by", "its jobs run one after another"),
    ):
        if is_given:
            raise InvalidQueue(f"batch cannot be had with {option}: {why}")


def input_of(annotation: Any, handler: Any) -> Any:
    """The type of one input, of a handler that takes several.

    Raises:
        InvalidQueue: it is annotated with something else.
    """
    if typing.get_origin(annotation) in _LISTS:
        (item,) = typing.get_args(annotation)
        return item
    raise InvalidQueue(
        f"the handler {described(handler)} is called with a list of inputs, as its queue has"
        f" `batch`, and takes {annotation!r:.80}; write list[…] of what one input is"
    )


def output_of(annotation: Any, handler: Any) -> Any:
    """The type of one output, of a handler that returns a list of outcomes, or nothing.

    Raises:
        InvalidQueue: it is annotated with something else.
    """
    if annotation in (None, NoneType):
        return NoneType
    if typing.get_origin(annotation) in _RETURNED:
        (outcome,) = typing.get_args(annotation)
        if outputs := [each for each in _members(outcome) if not _is_error(each)]:
            return Union[tuple(outputs)]  # noqa: UP007 - of as many as there are
    raise InvalidQueue(
        f"the handler {described(handler)} must return an outcome for each job, as its queue has"
        f" `batch`, and returns {annotation!r:.80}; write list[Output | Exception], where Output is"
        " what one job returns, or None where all that is returned from has succeeded"
    )


def _members(outcome: Any) -> Sequence[Any]:
    if typing.get_origin(outcome) in (Union, types.UnionType):
        return typing.get_args(outcome)
    return [outcome]


def _is_error(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(cast("type[Any]", kind), BaseException)
