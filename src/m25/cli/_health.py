"""Answers to `/livez` and `/readyz`, for whoever has to decide whether a worker goes on."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Final

import attrs
import h11
import trio

from ._exits import CannotStart

#: Within how many seconds a request must have come, and its answer have gone.
_PATIENCE: Final = 10.0
_MOST_AT_ONCE: Final = 4_096

#: Why a worker is not well, in words; `None` where it is.
Look = Callable[[], str | None]


@attrs.frozen
class Health:
    """What is answered: a 200, or a 503 that says why."""

    #: Whether the worker is to be left alone, or else started again.
    live: Look
    #: Whether it runs its queues.
    ready: Look

    def answer(self, path: bytes) -> tuple[int, str]:
        """The status and the text for a path."""
        look = {b"/livez": self.live, b"/readyz": self.ready}.get(path.partition(b"?")[0])
        if look is None:
            return 404, "there are /livez and /readyz"
        why = look()
        return (200, "ok") if why is None else (503, why)


async def serve(
    health: Health,
    host: str,
    port: int,
    *,
    task_status: trio.TaskStatus[Sequence[trio.SocketListener]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer until cancelled.

    Raises:
        CannotStart: the address cannot be had.
    """

    async def answer(stream: trio.SocketStream) -> None:
        # A client that is gone, or too slow, is nobody's concern.
        gone = contextlib.suppress(trio.BrokenResourceError, h11.RemoteProtocolError)
        with trio.move_on_after(_PATIENCE), gone:
            await _answer(health, stream)
        await trio.aclose_forcefully(stream)

    try:
        listeners = await trio.open_tcp_listeners(port, host=host)
    except OSError as error:
        raise CannotStart(f"--health {host}:{port} cannot be had: {error}") from error
    await trio.serve_listeners(answer, listeners, task_status=task_status)


async def _answer(health: Health, stream: trio.SocketStream) -> None:
    http = h11.Connection(h11.SERVER)
    while not isinstance(event := http.next_event(), h11.Request):
        if event is not h11.NEED_DATA:
            return
        http.receive_data(await stream.receive_some(_MOST_AT_ONCE))
    status, text = health.answer(event.target)
    body = b"" if event.method == b"HEAD" else f"{text}\n".encode()
    headers = [
        ("content-type", "text/plain; charset=utf-8"),
        ("content-length", str(len(text.encode()) + 1)),
        ("connection", "close"),
    ]
    response = h11.Response(status_code=status, headers=headers)
    for part in (response, h11.Data(data=body), h11.EndOfMessage()):
        await stream.send_all(http.send(part) or b"")
