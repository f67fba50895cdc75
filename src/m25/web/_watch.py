"""Asks the database for all who look, one thing after the other.

However many look, there is one question at a time and a pause after each. So the database has at
most `STATEMENTS_A_SECOND` of all of them together; where many look at different things, each is
asked more rarely. While nobody looks, nothing is asked.

There is no task that asks all the time: whoever looks brings one, and one of these asks, for all.
When the one who looked goes, the next one's takes over. So this works in any app, whether or not
the server tells the app when it begins and ends.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

import attrs
import trio

from .._client import M25
from .._errors import DatabaseError
from ._history import History
from ._job_list import WrongFilter
from ._questions import Overview, Question

STATEMENTS_A_SECOND: Final = 4
#: After a question that took t, the next one waits for at least so many times t: what somebody
#: looks at must not take the time of what works.
_REST: Final = 4.0
#: An answer that is this young, in seconds, is as good as a new one.
_FRESH: Final = 1.0


@attrs.frozen
class Answer:
    """What the database has said."""

    #: As the question says; of an answer that has failed, that of the one before, if there is one.
    value: object
    #: Why the database did not answer.
    failure: str | None
    #: Why it was not asked.
    mistake: str | None
    #: By Trio's clock.
    asked_at: float


class Watch:
    """One for each dashboard."""

    def __init__(self, m: M25) -> None:
        self._m = m
        #: Who asks for all has it.
        self._turn = trio.Lock()
        self._followers = Counter[Question]()
        self._answers: dict[Question, Answer] = {}
        #: Set, and replaced, when there is an answer, or a question more.
        self._changed = trio.Event()
        self.history = History()

    async def answer(self, question: Question) -> Answer:
        """An answer that is fresh."""
        known = self._answers.get(question)
        if known is not None and trio.current_time() - known.asked_at < _FRESH:
            await trio.lowlevel.checkpoint()
            return known
        return await self._ask(question)

    def forget(self) -> None:
        """Have all asked anew, since something was done."""
        self._answers.clear()

    @contextmanager
    def following(self, question: Question) -> Generator[None]:
        """A block in which a question is asked again and again, if somebody runs `ask_for_all`."""
        self._followers[question] += 1
        self._wake()
        try:
            yield
        finally:
            self._followers[question] -= 1
            if not self._followers[question]:
                del self._followers[question]
                self._answers.pop(question, None)

    async def next_answer(self, question: Question, seen: Answer | None) -> Answer:
        """Wait for an answer of a question that is followed which is not the one that was seen."""
        await trio.lowlevel.checkpoint()
        while True:
            answer = self._answers.get(question)
            if answer is not None and answer is not seen:
                return answer
            await self._changed.wait()

    async def ask_for_all(self) -> None:
        """Ask what is followed, once it is this caller's turn, until cancelled."""
        async with self._turn:
            while True:
                question, seconds = self._next()
                if question is None or seconds > 0:
                    changed = self._changed
                    with trio.move_on_after(seconds):
                        await changed.wait()
                    continue
                answer = await self._ask(question)
                took = trio.current_time() - answer.asked_at
                # rule: a question is followed by a pause
                await trio.sleep(max(question.statements / STATEMENTS_A_SECOND, _REST * took))

    def _next(self) -> tuple[Question | None, float]:
        """Which question is to be asked next, and in how many seconds."""
        now = trio.current_time()
        due = {
            question: answer.asked_at + question.period
            if (answer := self._answers.get(question))
            else now
            for question in self._followers
        }
        if not due:
            return None, float("inf")
        question = min(due, key=due.__getitem__)
        return question, due[question] - now

    async def _ask(self, question: Question) -> Answer:
        before = self._answers.get(question)
        asked_at = trio.current_time()
        try:
            answer = Answer(await question.ask(self._m), None, None, asked_at)
        except DatabaseError as error:
            value = None if before is None else before.value
            answer = Answer(value, str(error), None, asked_at)
        except WrongFilter as error:
            answer = Answer(None, None, str(error), asked_at)
        if isinstance(answer.value, Overview) and answer.failure is None:
            self.history.add(asked_at, answer.value)
        if question in self._followers:
            self._answers[question] = answer
            self._wake()
        return answer

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
