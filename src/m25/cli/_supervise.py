"""The supervisor of `m25 worker --processes N`: keeps that many processes running.

Each has a pipe on which it says now and then how it is, and a stdin that ends when the supervisor
wants it to stop, or is gone itself, however it ended: so nobody outlives it.
"""

from __future__ import annotations

import logging
import math
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import attrs
import trio

from .._signals import SIGNALS
from .._supervisor import RAN_WELL
from ..pg._backoff import Backoff
from . import _systemd as systemd
from ._reload import watch
from ._supervised import READY

_logger: Final = logging.getLogger("m25.worker")

#: The first and the longest pause before a process is started again, in seconds.
_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 30.0
#: How much longer than its grace a process may take to stop before it is killed, in seconds.
_TO_STOP: Final = 5.0
#: After how many seconds of silence a process is taken to stand still.
_SILENCE: Final = 10.0


@attrs.define(eq=False)
class _Member:
    """One of the processes, whichever it is at the moment."""

    number: int
    is_ready: bool = False
    #: When it was started, or has said something last, by Trio's clock; in no time of the past
    #: while there is none.
    heard_at: float = math.inf

    def heard(self, *, is_ready: bool) -> None:
        self.heard_at, self.is_ready = trio.current_time(), is_ready

    def ended(self) -> None:
        """There is none until it is started again: so none stands still."""
        self.heard_at, self.is_ready = math.inf, False


async def supervise(
    arguments: Sequence[str],
    conninfo: str,
    *,
    count: int,
    health_address: tuple[str, int] | None,
    grace: float,
    watched: Path | None,
) -> bool:
    """Keep `count` processes running until a signal; return whether all stopped by themselves.

    A second signal kills those that have not stopped yet.

    Args:
        arguments: of `m25`, for each process.
        conninfo: what each has as DATABASE_URL.
        health_address: where `/livez` and `/readyz` are answered.
        grace: how long handlers have to finish, in seconds.
        watched: the directory whose Python files are the program, if all processes are to begin
            anew when one of these has changed.
    """
    supervisor = Supervisor(arguments, conninfo, count, grace)
    with trio.open_signal_receiver(*SIGNALS) as signals:
        async with trio.open_nursery() as nursery:
            if health_address is not None:
                from ._health import Health, serve

                health = Health(live=supervisor.why_not_live, ready=supervisor.why_not_ready)
                await nursery.start(serve, health, *health_address)
            if watched is not None:
                nursery.start_soon(watch, watched, supervisor.begin_anew)
            nursery.start_soon(supervisor.run, nursery.cancel_scope)
            nursery.start_soon(systemd.feed_watchdog)
            async for number in signals:
                if supervisor.stopping.is_set():
                    _logger.warning("killing what has not stopped yet")
                    nursery.cancel_scope.cancel()
                else:
                    name = signal.Signals(number).name
                    _logger.info("%s: stopping %d processes", name, count)
                    supervisor.stop()
    return supervisor.is_well


class Supervisor:
    """What `supervise` keeps running."""

    def __init__(self, arguments: Sequence[str], conninfo: str, count: int, grace: float) -> None:
        self._command = [sys.executable, "-m", "m25", *arguments]
        self._environment = systemd.without(os.environ) | {"DATABASE_URL": conninfo}
        self.members = [_Member(number) for number in range(1, count + 1)]
        self._grace = grace
        self.stopping = trio.Event()
        #: Set once the program of the processes that run now has changed.
        self._outdated = trio.Event()
        self._is_told = False
        #: Whether none had to be killed.
        self.is_well = True

    def stop(self) -> None:
        """Let all processes stop."""
        self.stopping.set()
        systemd.notify("STOPPING=1")

    def begin_anew(self) -> None:
        """Let all processes stop, and start them again: their program has changed."""
        self._outdated.set()
        self._outdated = trio.Event()

    def why_not_live(self) -> str | None:
        """Which process stands still, if one does."""
        now = trio.current_time()
        for member in self.members:
            if now - member.heard_at > _SILENCE:
                return f"nothing was heard of process {member.number} for {_SILENCE:g} s"
        return None

    def why_not_ready(self) -> str | None:
        """Why not all processes run the queues, if they do not."""
        if self.stopping.is_set():
            return "it is stopping"
        starting = [str(member.number) for member in self.members if not member.is_ready]
        return f"not ready: process {', '.join(starting)}" if starting else None

    async def run(self, around: trio.CancelScope) -> None:
        """Keep the processes running until they are to stop, and end what is around then."""
        async with trio.open_nursery() as nursery:
            for member in self.members:
                nursery.start_soon(self._keep, member)
        around.cancel()

    async def _keep(self, member: _Member) -> None:
        backoff = Backoff(_FIRST_PAUSE, _LONGEST_PAUSE)
        while True:
            began = trio.current_time()
            outdated = self._outdated
            try:
                pid, code = await self._run(member, outdated)
                how = f"(pid {pid}) ended with {code}"
            except OSError as error:
                # The machine has no memory, or no files, for one more: the others go on.
                member.ended()
                how = f"cannot be started: {error}"
            if self.stopping.is_set():
                return
            if outdated.is_set():
                backoff.worked()
                continue
            if trio.current_time() - began > RAN_WELL:
                backoff.worked()
            pause = backoff.failed()
            _logger.error("process %d %s; it is started again in %.1f s", member.number, how, pause)
            with trio.move_on_after(pause):
                await _first_of(self.stopping, outdated)
            if self.stopping.is_set():
                return

    async def _run(self, member: _Member, outdated: trio.Event) -> tuple[int, int]:
        """Run one process until it ends, or its program is outdated; return its pid and its exit
        code.

        Raises:
            OSError: the process cannot be started.
        """
        member.heard(is_ready=False)
        hear, say = os.pipe()
        async with trio.lowlevel.FdStream(hear) as pulse:
            try:
                process = await trio.lowlevel.open_process(
                    [*self._command, "--supervised", str(say)],
                    stdin=subprocess.PIPE,
                    pass_fds=[say],
                    env=self._environment,
                )
            finally:
                os.close(say)
            _logger.info("process %d has pid %d", member.number, process.pid)
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._hear, member, pulse)
                    nursery.start_soon(self._stop_when_asked, process, outdated)
                    await process.wait()
                    nursery.cancel_scope.cancel()
            finally:
                member.ended()
                if process.returncode is None:
                    self.is_well = False
                    process.kill()
                with trio.CancelScope(shield=True):
                    await process.wait()
                    assert process.stdin is not None
                    await process.stdin.aclose()
            assert process.returncode is not None
            return process.pid, process.returncode

    async def _hear(self, member: _Member, pulse: trio.lowlevel.FdStream) -> None:
        while said := await pulse.receive_some(100):
            member.heard(is_ready=said.endswith(READY))
            if self.why_not_ready() is None and not self._is_told:
                self._is_told = True
                systemd.notify("READY=1")

    async def _stop_when_asked(self, process: trio.Process, outdated: trio.Event) -> None:
        await _first_of(self.stopping, outdated)
        assert process.stdin is not None
        await process.stdin.aclose()
        await trio.sleep(self._grace + _TO_STOP)
        _logger.error("pid %d has not stopped in time, and is killed", process.pid)
        # The exit code is of the stop that was asked for: whoever edits a program sees the log.
        self.is_well = self.is_well and not self.stopping.is_set()
        process.kill()


async def _first_of(*events: trio.Event) -> None:
    """Wait until one of these is set."""
    async with trio.open_nursery() as nursery:

        async def wait(event: trio.Event) -> None:
            await event.wait()
            nursery.cancel_scope.cancel()

        for event in events:
            nursery.start_soon(wait, event)
