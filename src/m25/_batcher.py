"""Many callers, one statement at a time: what is asked for while a statement is under way goes
together in the next.

There is no waiting for a batch to fill: an idle batcher sends a single request at once, and a busy
one sends as many as gathered meanwhile. So batches grow with the load, and latency does not.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeVar

import attrs
import trio

Request = TypeVar("Request")
Answer = TypeVar("Answer")

#: The largest batch; beyond a few hundred a statement gains nothing, and only takes longer.
_LARGEST: Final = 500


@attrs.define(eq=False)
class _Asked(Generic[Request, Answer]):
    request: Request
    answered: trio.Event = attrs.field(factory=trio.Event)
    answer: Answer | Exception | None = None

    def reply(self, answer: Answer | Exception) -> None:
        self.answer = answer
        self.answered.set()


class Batcher(Generic[Request, Answer]):
    """Sends requests in batches through `send`, which returns an answer for each, in order.

    An answer that is an exception is raised in that request's caller alone; an exception that
    `send` raises, in all of the batch. Once `run` has ended, `closed` is raised in those waiting.
    """

    def __init__(
        self,
        send: Callable[[Sequence[Request]], Awaitable[Sequence[Answer | Exception]]],
        closed: Callable[[], Exception],
    ) -> None:
        self._send = send
        self._closed = closed
        self._waiting: deque[_Asked[Request, Answer]] = deque()
        self._rung = trio.Event()

    async def ask(self, request: Request) -> Answer:
        """Return the answer to one request.

        A caller that is cancelled while it waits takes its request back if it was not sent yet; if
        it was, nothing can call it back.
        """
        asked: _Asked[Request, Answer] = _Asked(request)
        self._waiting.append(asked)
        self._rung.set()
        try:
            await asked.answered.wait()
        except trio.Cancelled:
            if asked in self._waiting:
                self._waiting.remove(asked)
            raise
        answer = asked.answer
        if isinstance(answer, Exception):
            raise answer
        assert answer is not None
        return answer

    async def run(self) -> None:
        """Send what is asked for, until cancelled."""
        sent: list[_Asked[Request, Answer]] = []
        try:
            while True:
                await self._rung.wait()
                sent = [self._waiting.popleft() for _ in range(min(_LARGEST, len(self._waiting)))]
                if not self._waiting:
                    self._rung = trio.Event()
                if sent:
                    await self._send_all(sent)
        finally:
            for asked in (*sent, *self._waiting):
                if not asked.answered.is_set():
                    asked.reply(self._closed())
            self._waiting.clear()

    async def _send_all(self, batch: Sequence[_Asked[Request, Answer]]) -> None:
        answers: Sequence[Answer | Exception]
        try:
            answers = await self._send([asked.request for asked in batch])
        except Exception as error:  # noqa: BLE001 - it is the callers' to handle
            answers = [error] * len(batch)
        for asked, answer in zip(batch, answers, strict=True):
            asked.reply(answer)
