"""A handler's waits that cost nothing: for a time, and for a message to its job.

Where there is something to wait for, the job is set aside: its handler is cancelled, and its row is
pending until it is due again. Then the handler runs again from its first line. Each wait is kept as
a step, and so comes to the same end in every run: a time that has passed, the message that was
received, or that none came in time.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Final, NoReturn, Protocol

import trio

from ._codec import Codec, Undecodable, value_codec
from ._errors import InvalidQueue, JobRecordFetchJsonDecodeError, UsageError
from ._in_transaction import refuse_in_transaction
from ._job import JobId
from ._queue import Queue
from ._step_errors import WaitsShielded
from ._step_names import check_name
from ._steps import RECEIVE, SLEEP, JobSteps
from ._store.protocol import FOREVER, ClaimedJob, NoMessage, SetAside, StepRow
from ._within_step import StepCall, prefix, step_call
from ._without_slot import without_slot

#: What is shorter is slept in the handler, in seconds: to run it again would take longer.
_SLEPT_THROUGH: Final = 1.0


class Attempt(Protocol):
    """The running attempt, as its waits know it."""

    @property
    def job(self) -> ClaimedJob: ...

    @property
    def queue(self) -> Queue[Any, Any, Any]: ...

    @property
    def has_ended(self) -> bool:
        """Whether its handler has ended."""
        ...

    @property
    def must_stay(self) -> bool:
        """Whether it cannot be set aside now, and waits in its handler."""
        ...

    @property
    def is_shielded(self) -> bool:
        """Whether the running task would not feel that its handler is cancelled."""
        ...

    def set_aside(self, aside: SetAside) -> None:
        """Cancel the handler, and release its job so."""
        ...


class JobWaits:
    """The waits of one attempt's handler."""

    def __init__(self, attempt: Attempt, steps: JobSteps) -> None:
        self._attempt = attempt
        self._steps = steps
        #: How many waits had no key of their own, by kind and name: outside of steps, and in each
        #: call of a step's function.
        self._counts = Counter[tuple[StepCall | None, str, str]]()
        self._keys: set[tuple[str, str, str]] = set()
        #: The wait that is under way, as its caller wrote it.
        self._under_way: str | None = None

    async def sleep(self, duration: timedelta, key: str | None) -> None:
        """See `RunningJob.sleep`."""
        with self._only("job.sleep()", SLEEP, SLEEP, key) as step_key:
            kept = await self._steps.find(SLEEP, SLEEP, step_key)
            if kept is None:
                kept = await self._steps.keep(
                    self._steps.new(SLEEP, SLEEP, step_key, until_in=duration)
                )
                left = duration.total_seconds()
            else:
                left = self._steps.seconds_left(kept)
            assert kept.until is not None, "until when a job sleeps is always kept"
            if left <= _SLEPT_THROUGH:
                await trio.sleep(max(0.0, left))
            elif self._attempt.must_stay:
                async with without_slot():
                    await trio.sleep(left)
            else:
                await self._set_aside("job.sleep()", SetAside(kept.until))

    async def receive(
        self, name: str, kind: Any, timeout: timedelta | None, key: str | None
    ) -> Any:
        """See `RunningJob.receive`."""
        check_name(name, "a message's name")
        codec = message_codec(name, kind)
        with self._only(f"job.receive({name!r})", RECEIVE, name, key) as step_key:
            kept = await self._steps.find(RECEIVE, name, step_key)
            while kept is None or kept.output is None:
                found = await self._steps.receive(name, step_key, timeout)
                if isinstance(found, NoMessage):
                    await self._wait(name, found)
                else:
                    kept = found
            return self._read(kept, codec)

    async def _wait(self, name: str, none: NoMessage) -> None:
        """Wait until a message may have come.

        Raises:
            TooSlowError: it is too late for one.
        """
        left = math.inf
        if none.step is not None and none.step.seconds_left is not None:
            left = none.step.seconds_left
        if left <= 0:
            await trio.lowlevel.checkpoint()
            raise trio.TooSlowError(f"no message {name!r} has come in time")
        if self._attempt.must_stay:
            async with without_slot():
                await trio.sleep(min(left, self._attempt.queue.poll_interval.total_seconds()))
            return
        until = FOREVER if none.step is None or none.step.until is None else none.step.until
        await self._set_aside(f"job.receive({name!r})", SetAside(until, name, none.messages))

    async def _set_aside(self, call: str, aside: SetAside) -> NoReturn:
        if not self._attempt.is_shielded:  # rule: a wait that is refused cancels nothing
            self._attempt.set_aside(aside)
        await trio.lowlevel.checkpoint()
        raise WaitsShielded(call)

    def _read(self, kept: StepRow, codec: Codec[Any]) -> Any:
        try:
            return codec.decode(kept.output or "null")
        except Undecodable as error:
            raise JobRecordFetchJsonDecodeError(
                JobId(self._attempt.job.id),
                f"message {kept.name!r}",
                error.path,
                f"{error.reason}; a message is written as what m.send has as kind=, or else as the"
                " class of its value, and it is read as what this call of job.receive says",
            ) from error

    @contextmanager
    def _only(self, call: str, kind: str, name: str, key: str | None) -> Generator[str]:
        """A block in which a handler waits; yields the key under which the wait is kept.

        Raises:
            UsageError: this handler cannot be set aside, or waits already.
        """
        refuse_in_transaction(call)
        self._check(call)
        if self._under_way is not None:
            raise UsageError(
                f"{call} was called while {self._under_way} is under way in another task: a job is"
                " set aside for one wait at a time; where one of several messages is to end it,"
                " give all of them one name, and receive a union of their types"
            )
        counted = (step_call(), kind, name)
        is_counted = key is None
        if key is None:
            key = f"{prefix()}{self._counts[counted]}"
            self._counts[counted] += 1
        else:
            check_name(key, "a wait's key")
        if (kind, name, key) in self._keys:
            raise UsageError(
                f"{call}: this handler has waited with the key {key!r} before; each wait needs its"
                " own, by which a later run of the handler knows it again"
            )
        self._keys.add((kind, name, key))
        self._under_way = call
        try:
            yield key
        except trio.TooSlowError:
            raise  # That no message has come in time is an end of the wait.
        except BaseException:
            if not self._steps.is_kept(kind, name, key):  # rule: a wait that was cut off goes on
                self._keys.discard((kind, name, key))
                if is_counted:
                    self._counts[counted] -= 1
            raise
        finally:
            self._under_way = None

    def _check(self, call: str) -> None:
        queue = self._attempt.queue
        if self._attempt.has_ended:
            raise UsageError(f"{call}: the handler of this job has ended")
        if queue.runs != "trio":
            raise UsageError(
                f"{call} cannot be called with runs={queue.runs!r}: the job is set aside by"
                " cancelling its handler, and nothing interrupts that one; raise m25.Snooze, which"
                " has the job run again later, or wait in an `async def` that calls this work"
            )
        if queue.allowed_losses == 0:
            raise UsageError(
                f"{call} cannot be called with allowed_losses=0: the handler would begin again once"
                " the wait is over, and an attempt of this queue begins once; wait in another job,"
                " which enqueues this one"
            )


def message_codec(name: str, kind: Any) -> Codec[Any]:
    """How the value of a message is kept as JSON.

    Raises:
        UsageError: m25 cannot keep values of this type.
    """
    try:
        return value_codec(kind, f"message {name!r}")
    except InvalidQueue as error:
        raise UsageError(str(error)) from error
