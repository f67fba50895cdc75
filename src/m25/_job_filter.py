"""Which jobs an operator means: what a caller says, and what the store is asked."""

from __future__ import annotations

import json
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta
from typing import Any, Final, TypedDict, Unpack

import psycopg

from ._base_queue import BaseQueue
from ._errors import UsageError
from ._lifecycle import FINAL, JobStatus
from ._operator import name_of
from ._store import operator
from ._store.jsonb import as_jsonb

#: Those that have not ended.
UNENDED: Final = frozenset(JobStatus) - FINAL
#: Those that can be tried once more.
RETRIED: Final = frozenset({JobStatus.FAILED, JobStatus.CANCELLED})


class JobFilter(TypedDict, total=False):
    """Which jobs are meant: those of which all holds that is said."""

    #: Those of this queue, or of the queue of this name.
    queue: BaseQueue[Any, Any, Any] | str
    #: How they stand: a `JobStatus`, its value, or several of these.
    status: JobStatus | str | Iterable[JobStatus | str]
    #: Since when their latest attempts were created: an aware datetime, or how long ago.
    since: datetime | timedelta
    #: Before which time they had ended, likewise.
    ended_before: datetime | timedelta
    #: What their input contains: a part of it, as JSON has it. `{"customer": 7}` is in each object
    #: that has this key with this value, `{"address": {"city": "Rome"}}` in those whose address has
    #: this city, and `["a"]` in each list that has this element.
    where: Any


def statuses_of(
    options: JobFilter,
    allowed: AbstractSet[JobStatus],
    default: AbstractSet[JobStatus],
    verb: str,
) -> frozenset[JobStatus]:
    """The statuses that are meant by whoever changes jobs.

    Raises:
        UsageError: nothing at all is said, or the status of some that cannot be changed so.
        ValueError: a status is none.
    """
    if not options:
        raise UsageError(
            f"which jobs are to be {verb}? Give their ids, or say what they are; those of all"
            f" queues are status={sorted(status.value for status in default)!r}"
        )
    said = options.get("status")
    statuses = frozenset(default if said is None else map(JobStatus, _statuses(said)))
    if not statuses <= allowed:
        names = ", ".join(sorted(status.value for status in statuses - allowed))
        raise UsageError(f"jobs that are {names} cannot be {verb}")
    return statuses


def asks_for_time(options: JobFilter) -> bool:
    """Whether the database's time is needed to say which jobs are meant."""
    times = options.get("since"), options.get("ended_before")
    return any(isinstance(time, timedelta) for time in times)


def make_filter(now: datetime | None, **options: Unpack[JobFilter]) -> operator.JobFilter:
    """What the store is asked; `now` is the database's time, where it is needed.

    Raises:
        ValueError: an option is not as in `JobFilter`.
        TypeError: likewise.
        InvalidQueue: no queue can have this name.
    """
    queue, status, where = options.get("queue"), options.get("status"), options.get("where")
    return operator.JobFilter(
        None if queue is None else name_of(queue),
        None if status is None else sorted({JobStatus(each).value for each in _statuses(status)}),
        _time("since", options.get("since"), now),
        _time("ended_before", options.get("ended_before"), now),
        None if where is None else _json(where),
    )


def _json(where: Any) -> str:
    try:
        # rule: what no input can hold is not looked for
        return as_jsonb(json.dumps(where, allow_nan=False))
    except (ValueError, psycopg.DataError) as error:
        raise ValueError(f"where must be what an input can hold: {error}") from error
    except RecursionError:
        raise ValueError("where must be what an input can hold: it is too deep") from None


def _time(name: str, value: datetime | timedelta | None, now: datetime | None) -> datetime | None:
    if isinstance(value, timedelta):
        assert now is not None, "it was asked for"
        return now - value
    if value is not None and value.utcoffset() is None:
        raise ValueError(f"{name} must be aware of its time zone, not {value!r}")
    return value


def _statuses(status: JobStatus | str | Iterable[JobStatus | str]) -> Iterable[JobStatus | str]:
    return [status] if isinstance(status, JobStatus | str) else status
