"""A stream of server-sent events, which keeps one page up to date for as long as it is open."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

import trio
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from ._questions import Question
from ._watch import Answer, Watch

#: After how many seconds without news something is sent, so that what stands between does not take
#: the stream for dead.
_SILENCE: Final = 15.0


class LiveResponse(Response):
    """What a page shows, each time it has changed, until the browser goes or the server stops.

    Args:
        watch: where the answers come from.
        question: what the page asks.
        render: from an answer to HTML.
        stopping: set when the server stops.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        watch: Watch,
        question: Question,
        render: Callable[[Answer], str],
        stopping: trio.Event,
    ) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        # How long it is, nobody knows.
        del self.headers["Content-Length"]
        self._watch = watch
        self._question = question
        self._render = render
        self._stopping = stopping

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until one of the two ends."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        if scope["method"] != "HEAD":
            await self._follow(receive, send)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _follow(self, receive: Receive, send: Send) -> None:
        # So that the browser knows at once that it is connected.
        await send(_part(": hello\n\n"))
        with self._watch.following(self._question):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._until_gone, receive, nursery.cancel_scope)
                # rule: a stream ends when the server stops
                nursery.start_soon(self._until_stop, nursery.cancel_scope)
                nursery.start_soon(self._watch.ask_for_all)
                nursery.start_soon(self._send, send)

    async def _send(self, send: Send) -> None:
        shown = ""
        answer: Answer | None = None
        while True:
            with trio.move_on_after(_SILENCE) as silence:
                answer = await self._watch.next_answer(self._question, answer)
            if silence.cancelled_caught or answer is None:
                await send(_part(": still here\n\n"))
            elif (html := self._render(answer)) != shown:
                shown = html
                await send(_part(_event(html)))

    async def _until_gone(self, receive: Receive, scope: trio.CancelScope) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        scope.cancel()

    async def _until_stop(self, scope: trio.CancelScope) -> None:
        await self._stopping.wait()
        scope.cancel()


def _part(text: str) -> Message:
    return {"type": "http.response.body", "body": text.encode(), "more_body": True}


def _event(html: str) -> str:
    # A browser takes these three for the ends of lines, and no others.
    return "".join(f"data: {line}\n" for line in re.split(r"\r\n|\r|\n", html)) + "\n"
