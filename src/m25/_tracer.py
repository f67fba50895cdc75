"""What m25 asks of whoever traces its jobs; `m25.instrumentation.opentelemetry` answers it.

A trace is carried from the enqueue to the attempts in the job's `meta`, under the names that W3C's
Trace Context has for it. A retry inherits `meta`, and so each attempt knows where its job came
from. A client without a tracer writes nothing, and does nothing of this.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

import attrs

from ._emitter import Listener
from ._job import Input, Job, JobId

if TYPE_CHECKING:
    from ._running_job import RunningJob

#: The keys of `meta` that carry a trace.
CARRIED: Final = ("traceparent", "tracestate")

#: Called with how many jobs were put on the queue; and of one that came alone, with its id.
Sent: TypeAlias = Callable[[int, JobId | None], None]


class Tracer(Listener, Protocol):
    """Makes spans of enqueues and attempts. Of an attempt's end it is told by the events."""

    def sending(self, queue: str, /) -> AbstractContextManager[Sent]:
        """A block in which jobs are put on a queue."""
        ...

    def carried(self) -> Mapping[str, str]:
        """What is to go along with a job that is put on a queue here and now: some of `CARRIED`,
        or nothing.
        """
        ...

    def running(self, job: RunningJob[Any, Any, Any], /) -> AbstractAsyncContextManager[Any]:
        """A block in which an attempt's handler is called, by the task that enters it."""
        ...


def check_tracer(tracer: object) -> None:
    """Check what is to trace jobs.

    Raises:
        TypeError: it is no tracer, nor `None`.
    """
    names = ("sending", "carried", "running", "wants", "__call__")
    is_one = not isinstance(tracer, type) and all(
        callable(getattr(tracer, name, None)) for name in names
    )
    if tracer is not None and not is_one:
        raise TypeError(
            "tracer must be one of m25's, such as"
            f" m25.instrumentation.opentelemetry.OpenTelemetry(), not {tracer!r:.80}"
        )


def _not_told(_jobs: int, _id: JobId | None) -> None:
    """Nobody traces what was sent."""


_UNTRACED: Final = nullcontext[Sent](_not_told)


def sending(tracer: Tracer | None, queue: str) -> AbstractContextManager[Sent]:
    """A block in which jobs are put on a queue, traced or not."""
    return _UNTRACED if tracer is None else tracer.sending(queue)


def carry(job: Job[Input], carried: Mapping[str, str]) -> Job[Input]:
    """The job with a trace in its `meta`; as it is, if it has one of its maker's."""
    meta = job.meta or {}
    if not carried or any(key in meta for key in CARRIED):
        return job
    return attrs.evolve(job, meta={**meta, **carried})


def without_trace(meta: Mapping[str, Any] | None) -> dict[str, Any]:
    """The `meta` of a job, but for the trace that it carries."""
    return {key: value for key, value in (meta or {}).items() if key not in CARRIED}
