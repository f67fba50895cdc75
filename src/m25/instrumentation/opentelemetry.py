"""Jobs as spans of OpenTelemetry, by its conventions for messaging; needs `m25[opentelemetry]`.

    async with m25.open(dsn, tracer=OpenTelemetry()) as m: ...

Each call that puts jobs on a queue is a span, `send emails`. Its context goes along in the job's
`meta`. Each attempt is a span, `process emails`, in a trace of its own: a job may run days later,
and many times. It has a *link* to the span that has sent it, and is current while the handler runs.
How it ends is said by the event that ends the attempt, and not by what comes out of the handler: a
deadline or a cancellation would look like success. What becomes of an attempt without its process,
as that of a killed worker, which exports nothing any more, is a span `settle emails` of no length.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from time import time_ns
from typing import TYPE_CHECKING, Any, Final, cast

import attrs

try:
    from opentelemetry import context, trace
except ImportError as _missing:  # pragma: no cover - the extra is there where it is tested
    raise ImportError(
        "m25.instrumentation.opentelemetry needs OpenTelemetry's API:"
        " pip install 'm25[opentelemetry]'"
    ) from _missing
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode, TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from .._crash import describe_crash, type_of
from .._events import ClaimFenced, Event, JobEvent, OutcomesUnwritten
from .._job import Input, Job, JobId
from .._tracer import CARRIED, Sent
from .._tracer import carry as carry_in
from ._endings import SETTLED, Ending, ending_of

if TYPE_CHECKING:
    from .._running_job import RunningJob

_W3C: Final = TraceContextTextMapPropagator()


def carry(job: Input | Job[Input]) -> Job[Input]:
    """A job that carries the present trace, for whoever enqueues it without a client: `m25.sync`.

        m25.sync.enqueue(connection, emails, carry(Email(to="ada@example.org")))

    Where the job's `meta` has a trace already, or there is none at present, it is as it was.
    """
    given = cast("Job[Input]", job) if isinstance(job, Job) else Job(job)
    return carry_in(given, _present())


def _present() -> dict[str, str]:
    carried: dict[str, str] = {}
    _W3C.inject(carried)
    return carried


def _links(meta: Mapping[str, Any] | None) -> list[Link]:
    """The link to the span that has sent a job with this `meta`, if it carries one."""
    carried = {
        key: value for key in CARRIED if meta and isinstance(value := meta.get(key), str) and value
    }
    sent_by = trace.get_current_span(_W3C.extract(carried, context.Context())).get_span_context()
    return [Link(sent_by)] if sent_by.is_valid else []


def _plain(event: Event) -> dict[str, Any]:
    """The fields of an event as attributes, which are never null."""
    return {f"m25.{name}": value for name, value in event.facts().items() if value is not None}


@attrs.define(eq=False)
class _Attempt:
    """An attempt that has begun in this process, and whose end nobody has told yet."""

    span: Span
    #: When its handler had ended, and all around it, in nanoseconds since 1970.
    left_at: int | None = None
    #: How it is to end once its handler has.
    ending: Ending | None = None


class OpenTelemetry:
    """A tracer for `m25.open`; one may serve several clients.

    Args:
        tracer_provider: whose tracer makes the spans; the global one, if it is not given.
        exceptions: whether what handlers raise is recorded, with message and traceback, which may
            hold what the job was given. Without it a span has the name of the class alone.
    """

    def __init__(
        self, tracer_provider: TracerProvider | None = None, *, exceptions: bool = True
    ) -> None:
        self._tracer = trace.get_tracer("m25", tracer_provider=tracer_provider)
        self._records_exceptions = exceptions
        #: By the attempts' ids.
        self._attempts: dict[str, _Attempt] = {}

    @contextmanager
    def sending(self, queue: str, /) -> Generator[Sent]:
        """A block in which jobs are put on a queue: a span, current meanwhile."""
        span = self._tracer.start_span(
            f"send {queue}", kind=SpanKind.PRODUCER, attributes=_attributes("send", queue)
        )

        def sent(jobs: int, id: JobId | None) -> None:
            if id is None:
                span.set_attribute("messaging.batch.message_count", jobs)
            else:
                span.set_attribute("messaging.message.id", str(id))

        token = context.attach(trace.set_span_in_context(span))
        try:
            yield sent
        except BaseException as error:
            # Trio's Cancelled as well: the job may be there, or not.
            self._set_error(span, type_of(error), "", error)
            raise
        finally:
            context.detach(token)
            span.end()

    def carried(self) -> Mapping[str, str]:
        """What names the current span, for a job's `meta`."""
        return _present()

    @asynccontextmanager
    async def running(self, job: RunningJob[Any, Any, Any], /) -> AsyncGenerator[None]:
        """A block in which a handler is called: a span of an attempt, current meanwhile."""
        clean = context.Context()
        attributes = _attributes("process", job.queue_name)
        attributes["messaging.message.id"] = str(job.job_id)
        attributes["m25.job_id"] = str(job.id)
        attributes["m25.attempt"] = job.attempt
        span = self._tracer.start_span(
            f"process {job.queue_name}",
            context=clean,
            kind=SpanKind.CONSUMER,
            attributes=attributes,
            links=_links(job.meta),
        )
        id = str(job.id)
        self._end(id, Ending("lost"))  # It was claimed again, while nobody told of its end.
        self._attempts[id] = attempt = _Attempt(span)
        token = context.attach(trace.set_span_in_context(span, clean))
        try:
            yield
        finally:
            context.detach(token)
            attempt.left_at = time_ns()
            if attempt.ending is not None and self._attempts.get(id) is attempt:
                self._end(id, attempt.ending)

    def wants(self, event_class: type[Event], /) -> bool:
        """Whether it is about an attempt."""
        return issubclass(event_class, (JobEvent, OutcomesUnwritten))

    def __call__(self, event: Event, /) -> None:
        """End the span of an attempt, or note in it what has happened."""
        if isinstance(event, OutcomesUnwritten):
            for id in event.job_ids:
                self._end(id, Ending("unwritten", "unwritten", event.in_words()))
        elif isinstance(event, JobEvent):
            self._note(event)

    def _note(self, event: JobEvent) -> None:
        attempt, ending = self._attempts.get(event.job_id), ending_of(event)
        if attempt is None:
            if isinstance(event, SETTLED) and ending is not None:
                self._settle(event, ending)
        elif ending is None:
            attempt.span.add_event(type(event).__name__, _plain(event))
            self._record(attempt.span, getattr(event, "error", None))
        elif isinstance(event, ClaimFenced) and attempt.left_at is None:
            # The last word on it; but its handler is only being cancelled, which takes its time.
            attempt.ending = ending
        else:
            self._end(event.job_id, ending)

    def _end(self, id: str, ending: Ending) -> None:
        attempt = self._attempts.pop(id, None)
        if attempt is not None:
            self._finish(attempt.span, ending)
            attempt.span.end(attempt.left_at)

    def _settle(self, event: JobEvent, ending: Ending) -> None:
        attributes = {**_attributes("settle", event.queue), **_plain(event)}
        span = self._tracer.start_span(
            f"settle {event.queue}",
            context=context.Context(),
            kind=SpanKind.CLIENT,
            attributes=attributes,
        )
        self._finish(span, ending)
        span.end()

    def _finish(self, span: Span, ending: Ending) -> None:
        span.set_attribute("m25.outcome", ending.outcome)
        if ending.reason is not None:
            span.set_attribute("m25.failure_reason", ending.reason)
        if ending.error_type is not None:
            self._set_error(span, ending.error_type, ending.words, ending.error)

    def _set_error(
        self, span: Span, error_type: str, words: str, error: BaseException | None
    ) -> None:
        span.set_attribute("error.type", error_type)
        span.set_status(Status(StatusCode.ERROR, words or error_type))
        self._record(span, error)

    def _record(self, span: Span, error: BaseException | None) -> None:
        if error is not None and self._records_exceptions:
            # Not by the span's own means: those raise where the exception cannot be printed.
            name, message, trace_ = describe_crash(error)
            facts = {
                "exception.type": name,
                "exception.message": message,
                "exception.stacktrace": trace_ or "",
            }
            span.add_event("exception", facts)


def _attributes(operation: str, queue: str) -> dict[str, Any]:
    return {
        "messaging.system": "m25",
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.destination.name": queue,
    }
