"""Processes that call a function, and that are killed where a call is cancelled."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import attrs
import trio

from .._errors import ProcessDied, ProcessNotStarted
from .._groups import unwrapped

#: How long a process that was killed is waited for, in seconds. It takes longer where a process
#: waits in the kernel for a device that does not answer; it ends once that does.
_LONGEST_END: Final = 1.0
#: How long a process may take until it is ready, in seconds: a module may import for minutes, and
#: whoever waits for one that never ends must hear of it.
_LONGEST_START: Final = 300.0
#: Set in the environment of each process.
MARK: Final = "M25_HANDLER_PROCESS"


@attrs.frozen
class Target:
    """The function that the processes call, by the names by which they import it."""

    module: str
    #: It is called with `arguments`, and returns the function from text to text.
    function: str
    arguments: Sequence[str]
    #: Whether the program's main module is to be imported before it.
    needs_main: bool = False


async def receive(stream: trio.SocketStream) -> str:
    """Receive a message.

    Raises:
        EOFError: the process has closed its end.
        trio.BrokenResourceError, trio.ClosedResourceError: it has ended, or was ended.
    """
    length = int.from_bytes(await _exactly(stream, 8), "big")
    return (await _exactly(stream, length)).decode()


async def _exactly(stream: trio.SocketStream, count: int) -> bytes:
    message = bytearray()
    while len(message) < count:
        received = await stream.receive_some(min(count - len(message), 1_048_576))
        if not received:
            raise EOFError
        message += received
    return bytes(message)


async def send(stream: trio.SocketStream, text: str) -> None:
    """Send a message."""
    message = text.encode()
    await stream.send_all(len(message).to_bytes(8, "big") + message)


class _Process:
    """One process. It leads a group, so that what it starts is killed with it."""

    def __init__(self, process: trio.Process, stream: trio.SocketStream) -> None:
        self.process = process
        self.stream = stream
        #: How often the function was called there: the number of the latest call.
        self.calls = 0
        self.has_ended = trio.Event()

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)

    async def end(self) -> None:
        """Kill it and wait until it has ended, though the caller be cancelled."""
        self.kill()
        await _until_ended(self.process)

    @property
    def end_in_words(self) -> str:
        code = self.process.returncode
        if code is not None and code < 0:
            with contextlib.suppress(ValueError):
                return f"it was ended by {signal.Signals(-code).name}"
        return f"it ended with exit code {code}"


async def _until_ended(process: trio.Process) -> None:
    """Wait until a process has ended that was killed, though the caller be cancelled."""
    with trio.move_on_after(_LONGEST_END, shield=True):
        await process.wait()


#: The functions in which a task waits for a process that is at work, or ends.
WAITS: Final = (receive, _until_ended)


class ProcessPool:
    """Processes for one function: started when they are needed, and used again."""

    def __init__(self, target: Target, limit: int) -> None:
        self._target = target
        self._limit = limit
        self._idle: list[_Process] = []
        self._count = 0
        self._nursery: trio.Nursery | None = None
        #: The end of the keeper's pipe that is written to.
        self._keeper = -1

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        """Have processes in this block; the first has started when it is entered.

        Raises:
            ProcessNotStarted: the process did not start, or could not import the function.
            ProcessDied: raised into the block, where the keeper has ended.
        """
        reads, self._keeper = os.pipe()
        try:
            os.set_blocking(self._keeper, False)
            try:
                keeper = await trio.lowlevel.open_process(
                    # Without site-packages, which it does not need, it starts in milliseconds.
                    [sys.executable, "-I", "-S", _script("_keeper"), str(os.getpid())],
                    stdin=reads,
                    stdout=subprocess.DEVNULL,
                    # A signal for the program's group must not end it before the program.
                    start_new_session=True,
                )
            finally:
                os.close(reads)
            try:
                with unwrapped():
                    async with trio.open_nursery() as nursery:
                        self._nursery = nursery
                        nursery.start_soon(self._watch, keeper)
                        try:
                            await self._start_idle()
                            yield
                        finally:
                            self._nursery = None
                            nursery.cancel_scope.cancel()
            finally:
                # Nothing is left for it to kill.
                keeper.kill()
                await _until_ended(keeper)
        finally:
            os.close(self._keeper)
            self._idle.clear()

    async def call(self, request: str, starting: Callable[[], AbstractContextManager[None]]) -> str:
        """Call the function in a process. Cancelled, it kills the process, and whatever that has
        started, and returns once they have ended.

        Args:
            request: what the function is called with.
            starting: what it returns is entered while a process must start before the call.

        Raises:
            ProcessNotStarted: no process could be started.
            ProcessDied: the process ended before it answered, or answered something else.
        """
        process = await self._take(starting)
        process.calls += 1
        try:
            await send(process.stream, f"{process.calls} {request}")
            number, _, answer = (await receive(process.stream)).partition(" ")
            if number != str(process.calls):
                # Another may write there, as what the function has forked: no answer that follows
                # can be trusted either.
                raise ProcessDied(
                    "the process of a handler answered what it was not asked, and was killed: does"
                    " something that the handler has forked use its socket?"
                )
        except (EOFError, trio.BrokenResourceError, trio.ClosedResourceError):
            await process.end()
            self._replace()
            raise ProcessDied(
                f"the process of a handler ended before its handler did: {process.end_in_words}"
            ) from None
        except BaseException:
            await process.end()
            self._replace()
            raise
        self._idle.append(process)
        return answer

    async def _take(self, starting: Callable[[], AbstractContextManager[None]]) -> _Process:
        # The one that was used last is in the processor's caches.
        while self._idle:
            process = self._idle.pop()
            if not process.has_ended.is_set():
                await trio.lowlevel.checkpoint()
                return process
        with starting():
            return await self._start()

    async def _start(self) -> _Process:
        assert self._nursery is not None, "the pool must be open"
        started: _Process = await self._nursery.start(self._run_process)
        return started

    def _replace(self) -> None:
        """Start another process beforehand: to start takes longer than many calls do."""
        if self._nursery is not None and not self._idle and self._count <= self._limit:
            self._nursery.start_soon(self._start_replacement)

    async def _start_replacement(self) -> None:
        # Whoever needs the process will meet the same error, and raise it.
        with contextlib.suppress(ProcessNotStarted):
            await self._start_idle()

    async def _start_idle(self) -> None:
        self._idle.append(await self._start())

    async def _run_process(
        self, task_status: trio.TaskStatus[_Process] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Start a process, and look after it until it has ended."""
        ours, theirs = socket.socketpair()
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(ours))
        self._count += 1
        try:
            with theirs:
                opened = await trio.lowlevel.open_process(
                    [sys.executable, "-P", _script("_child"), str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(),),
                    env={**os.environ, MARK: "1"},
                    start_new_session=True,
                )
            process = _Process(opened, stream)
            try:
                # Before anything of the user's runs there: from then on it may be deaf.
                self._tell_keeper(f"+{opened.pid}\n")
                await self._prepare(process)
                task_status.started(process)
                await opened.wait()
            finally:
                await process.end()
                process.has_ended.set()
                self._tell_keeper(f"-{opened.pid}\n")
        finally:
            self._count -= 1
            await trio.aclose_forcefully(stream)

    async def _prepare(self, process: _Process) -> None:
        target = self._target
        order = {
            "path": sys.path,
            "argv": sys.argv,
            "main": _main_module() if target.needs_main else None,
            "module": target.module,
            "function": target.function,
            "arguments": list(target.arguments),
        }
        try:
            with trio.fail_after(_LONGEST_START):
                await send(process.stream, json.dumps(order))
                answer = await receive(process.stream)
        except trio.TooSlowError:
            raise ProcessNotStarted(
                f"a process for handlers had not imported what it needs after {_LONGEST_START:g} s"
            ) from None
        except (EOFError, trio.BrokenResourceError) as error:
            await process.end()
            raise ProcessNotStarted(
                f"a process for handlers ended as it started: {process.end_in_words}"
            ) from error
        if answer:
            said: dict[str, Any] = json.loads(answer)
            failure = ProcessNotStarted(
                f"a process for handlers could not import what it needs: {said['reason']}"
            )
            failure.add_note(f"in the process:\n{said['traceback']}")
            raise failure

    def _tell_keeper(self, line: str) -> None:
        # `_watch` notices that the keeper has ended.
        with contextlib.suppress(BrokenPipeError):
            os.write(self._keeper, line.encode())

    async def _watch(self, keeper: trio.Process) -> None:
        code = await keeper.wait()
        raise ProcessDied(
            f"the keeper of the handlers' processes has ended, with exit code {code}: without it"
            " they would go on where this program is killed"
        )


def _script(name: str) -> str:
    return str(Path(__file__).with_name(f"{name}.py"))


def _main_module() -> dict[str, str]:
    main: Any = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return {"name": spec.name}
    path = getattr(main, "__file__", None)
    if path is None:
        raise ProcessNotStarted("the main module is no file, so that no process can import it")
    return {"path": str(Path(path).absolute())}
