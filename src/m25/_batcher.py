"""Many callers share statements: requests that come while one is under way go together in the next.

No request waits for a batch to fill. Where nothing is under way, a request is sent at once, in its
caller's own task; requests that come meanwhile form the next batch. So batches grow with the load
and latency does not, and a lone caller does not pay for waking another task.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeVar

import attrs
import trio

from .pg._wakeup import Wakeup

Request = TypeVar("Request")
Answer = TypeVar("Answer")

#: The largest batch. With more than a few hundred rows a statement only takes longer.
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

    An answer that is an exception is raised in the caller of that request alone; an exception that
    `send` raises is raised in all callers of the batch. Once `run` has ended, the exception that
    `closed` makes is raised in the callers that still wait.
    """

    def __init__(
        self,
        send: Callable[[Sequence[Request]], Awaitable[Sequence[Answer | Exception]]],
        closed: Callable[[], Exception],
    ) -> None:
        self._send = send
        self._closed = closed
        self._waiting: deque[_Asked[Request, Answer]] = deque()
        #: Set when requests wait, and no statement is under way.
        self._wakeup = Wakeup()
        self._under_way = False

    async def ask(self, request: Request) -> Answer:
        """Return the answer to one request.

        A caller that is cancelled while it waits withdraws its request, if the request was not sent
        yet. A request that was sent together with others cannot be withdrawn.
        """
        if not self._under_way and not self._waiting:
            return await self._send_one(request)
        asked: _Asked[Request, Answer] = _Asked(request)
        self._waiting.append(asked)
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

    async def _send_one(self, request: Request) -> Answer:
        self._under_way = True
        try:
            (answer,) = await self._send([request])
        finally:
            self._under_way = False
            if self._waiting:
                self._wakeup.set()
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def run(self) -> None:
        """Send the requests that wait, until cancelled."""
        sent: list[_Asked[Request, Answer]] = []
        try:
            while True:
                await self._wakeup.wait()
                self._under_way = True
                while self._waiting:
                    sent = [
                        self._waiting.popleft() for _ in range(min(_LARGEST, len(self._waiting)))
                    ]
                    await self._send_all(sent)
                self._under_way = False
        finally:
            for asked in (*sent, *self._waiting):
                if not asked.answered.is_set():
                    asked.reply(self._closed())
            self._waiting.clear()

    async def _send_all(self, batch: Sequence[_Asked[Request, Answer]]) -> None:
        answers: Sequence[Answer | Exception]
        try:
            answers = await self._send([asked.request for asked in batch])
        except Exception as error:  # noqa: BLE001 - it is raised in each caller
            answers = [error] * len(batch)
        for asked, answer in zip(batch, answers, strict=True):
            asked.reply(answer)
