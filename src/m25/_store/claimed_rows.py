"""Whole rows out of what a claim returns: of each job a few columns, of few jobs the rest.

What is the same in all rows of a claim, or follows from the rest, is not sent at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from .._lifecycle import JobStatus
from .columns import ALWAYS_CLAIMED, COLUMNS, RARELY_CLAIMED
from .protocol import JobRow

#: As far as the statement puts a deadline off, in seconds: see parts/deadline.sql.
_LONGEST: Final = Decimal(31_557_600_000)

#: Where in a `JobRow` what comes of each job goes.
_ALWAYS: Final = tuple(map(JobRow._fields.index, ALWAYS_CLAIMED))
_EMPTY: Final = JobRow._make(column.default for column in COLUMNS.values())
#: By type, where it is not text in a row: how it is read from what was sent as text.
_READ: Final[Mapping[str, Callable[[str], Any]]] = {
    "integer": int,
    "smallint": int,
    "boolean": "true".__eq__,
}
#: The same of the columns that come of few jobs.
_RARELY: Final = tuple(
    (JobRow._fields.index(name), _READ.get(COLUMNS[name].type)) for name in RARELY_CLAIMED
)
_CREATED_AT: Final = JobRow._fields.index("created_at")
_TIMEOUT: Final = JobRow._fields.index("timeout")
_DEADLINE: Final = JobRow._fields.index("deadline")


def claimed_rows(rows: Sequence[tuple[Any, ...]], queue_name: str, *, start: bool) -> list[JobRow]:
    """What `get` would return of the jobs of a claim, from what the claim returned.

    With `start` they are executing.
    """
    if not rows:
        return []
    claimed_at: str = rows[0][-2]
    status = JobStatus.EXECUTING if start else JobStatus.RESERVED
    same = _EMPTY._replace(
        queue_name=queue_name,
        status=status.value,
        reserved_at=claimed_at,
        started_at=claimed_at if start else None,
    )
    deadlines: dict[str, str] = {}
    found: list[JobRow] = []
    for *always, run_at, _, rest in rows:
        values: list[Any] = [*same]
        for position, value in zip(_ALWAYS, always, strict=True):
            values[position] = value
        values[_CREATED_AT] = run_at
        if rest is not None:
            _put_rest(values, rest)
        if start:
            timeout: str = values[_TIMEOUT]
            # Most jobs of a queue have the same.
            deadline = deadlines.get(timeout)
            if deadline is None:
                deadline = deadlines[timeout] = _deadline(claimed_at, timeout)
            values[_DEADLINE] = deadline
        found.append(JobRow._make(values))
    return found


def _put_rest(values: list[Any], rest: Sequence[str | None]) -> None:
    for (position, read), text in zip(_RARELY, rest, strict=True):
        values[position] = text if text is None or read is None else read(text)


def _deadline(started_at: str, timeout: str) -> str:
    return f"{Decimal(started_at) + max(Decimal(0), min(Decimal(timeout), _LONGEST)):.6f}"
