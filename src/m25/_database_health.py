"""Whether the database answers, as far as this client has seen.

Every loop that calls the database reports here whether its calls are answered. Many calls fail in
one outage, and few events are emitted: one when it begins, one now and then while it lasts, and one
when the database answers again.
"""

from __future__ import annotations

import math
import random
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import trio

from ._crash import type_name
from ._emitter import Emitter
from ._events import (
    DatabaseAnswers,
    DatabaseFailing,
    DatabaseStillFailing,
    StatementMistaken,
)
from ._store.failures import FailureKind, StatementFailed, without_rows
from .pg._backoff import Backoff

T = TypeVar("T")

_FIRST_REMINDER: Final = 10.0  # seconds
_LONGEST_REMINDER: Final = 300.0  # seconds
#: Calls that fail within this many seconds after others were answered belong to the same outage:
#: one kind of call may fail all the time while others work.
_QUIET_BEFORE_NEXT_OUTAGE: Final = 10.0


class DatabaseHealth:
    """One for each client."""

    def __init__(self, events: Emitter) -> None:
        self._events = events
        self._failing = False
        self._began = -math.inf
        self._answered_at = -math.inf
        self._failures = 0
        self._reminder = _FIRST_REMINDER
        self._remind_at = 0.0
        #: Whether an event of this outage was emitted, and so another is due at its end.
        self._announced = False
        #: By statement: until when no further event of its mistakes is emitted.
        self._mistakes_quiet_until: dict[str, float] = {}

    def failed(self, failure: StatementFailed) -> None:
        """A call failed, and will be repeated."""
        now = trio.current_time()
        if failure.kind is FailureKind.MISTAKE:
            # It says nothing of whether the database answers.
            self._emit_mistake(failure, now)
            return
        if not self._failing and now - self._answered_at >= _QUIET_BEFORE_NEXT_OUTAGE:
            self._began = now
            self._failures = 0
            self._reminder = _FIRST_REMINDER
            self._remind_at = now + self._reminder
            self._announced = True
            self._events.emit(DatabaseFailing(problem=failure.brief))
        elif now >= self._remind_at:
            self._reminder = min(self._reminder * 2, _LONGEST_REMINDER)
            self._remind_at = now + self._reminder
            self._announced = True
            self._events.emit(
                DatabaseStillFailing(
                    problem=failure.brief, failures=self._failures, seconds=now - self._began
                )
            )
        self._failing = True
        self._failures += 1

    def answered(self) -> None:
        """A call was answered."""
        if self._failing:
            self._failing = False
            self._answered_at = trio.current_time()
            if self._announced:
                self._announced = False
                self._events.emit(
                    DatabaseAnswers(
                        failures=self._failures, seconds=self._answered_at - self._began
                    )
                )

    def _emit_mistake(self, failure: StatementFailed, now: float) -> None:
        if now >= self._mistakes_quiet_until.get(failure.statement, -math.inf):
            self._mistakes_quiet_until[failure.statement] = now + _LONGEST_REMINDER
            self._events.emit(
                StatementMistaken(
                    statement=failure.statement,
                    error=without_rows(failure),
                    error_type=type_name((failure.__cause__ or failure).__class__),
                )
            )


class Tries:
    """The tries of one loop that calls the database, and tries again after a failure."""

    def __init__(self, health: DatabaseHealth, rng: random.Random) -> None:
        self._health = health
        self._backoff = Backoff(rng=rng)

    def failed(self, failure: StatementFailed) -> float:
        """Report a failure; return how long to wait before the next try, in seconds."""
        self._health.failed(failure)
        return self._backoff.failed()

    def worked(self) -> None:
        """Report an answer."""
        self._health.answered()
        self._backoff.worked()

    async def until_answered(
        self,
        ask: Callable[[], Awaitable[T]],
        *,
        is_final: Callable[[StatementFailed], bool] = lambda _: False,
    ) -> T:
        """Ask until there is an answer.

        Raises:
            StatementFailed: one that `is_final`, and so is not tried again.
        """
        while True:
            try:
                answer = await ask()
            except StatementFailed as failure:
                if is_final(failure):
                    raise
                await trio.sleep(self.failed(failure))
            else:
                self.worked()
                return answer
