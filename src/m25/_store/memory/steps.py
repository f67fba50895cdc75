"""What handlers keep over attempts, in memory."""

from __future__ import annotations

from typing import Final, TypeAlias

from ..jsonb import optional_jsonb
from ..protocol import Kept, NewReceive, NewStep, NoMessage, StepRow
from .messages import Messages
from .rows import MICROSECOND, SECOND, microseconds, seconds, within_bounds

#: The kind of a step by which a handler waits for a message.
RECEIVE: Final = "receive"

#: Kind, name and key.
StepKey: TypeAlias = tuple[str, str, str]


class Steps:
    """The steps of all jobs."""

    def __init__(self) -> None:
        #: By the id of a job's first attempt.
        self._kept: dict[str, dict[StepKey, StepRow]] = {}

    def forget(self, job_id: str) -> None:
        """The job is gone."""
        self._kept.pop(job_id, None)

    def of(self, job_id: str, now: int) -> list[StepRow]:
        """The steps of a job, in the order in which they were kept."""
        return [_read(step, now) for step in self._kept.get(job_id, {}).values()]

    def keep(self, step: NewStep, now: int) -> Kept:
        """Keep a step, unless it is there."""
        steps = self._kept.setdefault(step.job_id, {})
        key = (step.kind, step.name, step.key)
        is_new = key not in steps
        if is_new:
            steps[key] = _new(step, now)
        return Kept(_read(steps[key], now), is_new)

    def receive(
        self, wanted: NewReceive, messages: Messages, count: int, now: int
    ) -> Kept | NoMessage:
        """Receive a message, and keep it, unless that was done; else until when to wait."""
        steps = self._kept.setdefault(wanted.job_id, {})
        key = (RECEIVE, wanted.name, wanted.key)
        kept = steps.get(key)
        if kept is not None and kept.output is not None:
            return Kept(_read(kept, now), is_new=False)
        before = None if kept is None or kept.until is None else microseconds(kept.until)
        value = messages.receive(wanted.job_id, wanted.name, before)
        if value is not None:
            if kept is None:
                kept = StepRow(RECEIVE, wanted.name, wanted.key, None, None, None, None)
            steps[key] = kept._replace(output=value)
            return Kept(_read(steps[key], now), is_new=True)
        if kept is None and wanted.timeout is not None:
            until = seconds(now + within_bounds(wanted.timeout // MICROSECOND))
            steps[key] = kept = StepRow(RECEIVE, wanted.name, wanted.key, None, until, None, None)
        return NoMessage(None if kept is None else _read(kept, now), count)

    def look(self, step: NewStep, now: int) -> Kept | None:
        """The answer for a step that is there already."""
        kept = self._kept.get(step.job_id, {}).get((step.kind, step.name, step.key))
        return None if kept is None else Kept(_read(kept, now), is_new=False)

    def would_keep(self, step: NewStep, now: int) -> Kept:
        """The answer for a step that is not there, as if it were kept now."""
        return Kept(_read(_new(step, now), now), is_new=True)


def _new(step: NewStep, now: int) -> StepRow:
    until = None
    if step.until_in is not None:
        until = seconds(now + within_bounds(step.until_in // MICROSECOND))
    return StepRow(step.kind, step.name, step.key, step.fingerprint, until, None, step.output)


def _read(step: StepRow, now: int) -> StepRow:
    if step.until is None:
        return step
    return step._replace(seconds_left=(microseconds(step.until) - now) / SECOND)


def storable(step: NewStep) -> NewStep:
    """A step as the database keeps it.

    Raises:
        psycopg.DataError: it holds what no `jsonb` column would take.
    """
    return step._replace(output=optional_jsonb(step.output))
