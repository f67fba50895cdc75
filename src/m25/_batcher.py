"""Many callers share statements: requests that come while one is under way go together in the next.

No request waits for a batch to fill. Where nothing is under way, a request is sent at once, in its
caller's own task; requests that come meanwhile form the next batch, and so do those of callers that
have had their answers just now. So batches grow with the load and latency does not, and a lone
caller does not pay for waking another task.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeVar

import attrs
import trio

from .pg._wakeup import Wakeup
from .pg._wire import CLEAN_UP

Request = TypeVar("Request")
Answer = TypeVar("Answer")

#: The most requests in a batch: to prepare it, and to give its answers, is to take less than a
#: millisecond. With more rows a statement only takes longer.
_LARGEST: Final = 150
#: The largest sum of the sizes of the requests in a batch, if it has more than one.
_LARGEST_SIZE: Final = 1_000_000


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

    Args:
        send: sends a batch.
        closed: makes an exception.
        unanswered: where it is given, a caller that is cancelled after its request was sent waits
            for the answer, and gets it; after five seconds the exception that `unanswered` makes is
            raised. `send` has to end in the same way when it is cancelled itself. Where it is not
            given, such a caller is cancelled at once.
        size: how large a request is, in bytes or characters.
    """

    def __init__(
        self,
        send: Callable[[Sequence[Request]], Awaitable[Sequence[Answer | Exception]]],
        closed: Callable[[], Exception],
        *,
        unanswered: Callable[[], Exception] | None = None,
        size: Callable[[Request], int] | None = None,
    ) -> None:
        self._send = send
        self._closed = closed
        self._unanswered = unanswered
        self._size = size
        self._waiting: deque[_Asked[Request, Answer]] = deque()
        #: Set when requests wait, and no statement is under way.
        self._wakeup = Wakeup()
        self._under_way = False

    async def ask(self, request: Request) -> Answer:
        """Return the answer to one request.

        A caller that is cancelled while it waits withdraws its request, if the request was not sent
        yet.
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
            if self._unanswered is None:
                raise
            with trio.move_on_after(CLEAN_UP, shield=True):
                await asked.answered.wait()
            if not asked.answered.is_set():
                raise self._unanswered() from None
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
                    sent = self._next_batch()
                    await self._send_all(sent)
                    # The callers that have their answers may ask again at once: they are to go
                    # together, and not the first of them alone. Trio runs tasks that are ready in
                    # any order, so each has had its turn once this one has had two.
                    await trio.lowlevel.checkpoint()
                    await trio.lowlevel.checkpoint()
                self._under_way = False
        finally:
            for asked in (*sent, *self._waiting):
                if not asked.answered.is_set():
                    asked.reply(self._closed())
            self._waiting.clear()

    def _next_batch(self) -> list[_Asked[Request, Answer]]:
        size_of, waiting = self._size, self._waiting
        batch = [waiting.popleft()]
        size = 0 if size_of is None else size_of(batch[0].request)
        while waiting and len(batch) < _LARGEST:
            if size_of is not None:
                size += size_of(waiting[0].request)
                if size > _LARGEST_SIZE:
                    break
            batch.append(waiting.popleft())
        return batch

    async def _send_all(self, batch: Sequence[_Asked[Request, Answer]]) -> None:
        answers: Sequence[Answer | Exception]
        try:
            answers = await self._send([asked.request for asked in batch])
        except Exception as error:  # noqa: BLE001 - it is raised in each caller
            answers = [error] * len(batch)
        for asked, answer in zip(batch, answers, strict=True):
            asked.reply(answer)
