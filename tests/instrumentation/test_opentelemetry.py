"""Spans: who has sent a job, each of its attempts, and how each has ended."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from time import time_ns
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

import m25
import m25.testing
from m25._events import (
    ClaimFenced,
    CommitUnanswered,
    HandlerOverran,
    JobSwept,
    OutcomeRefused,
    OutcomesUnwritten,
    RaisedWhileCancelled,
    ResultDiscarded,
)
from m25.instrumentation.opentelemetry import OpenTelemetry, carry

FACTS: dict[str, Any] = {"queue": "emails", "job_id": "a1", "attempt": 1, "max_attempts": 1}


class Spans:
    """What was exported."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = OpenTelemetry(self.provider)

    def of(self, name: str) -> list[ReadableSpan]:
        """Those of this name, in the order in which they began."""
        spans = [span for span in self._exporter.get_finished_spans() if span.name == name]
        return sorted(spans, key=lambda span: span.start_time or 0)

    def one(self, name: str) -> ReadableSpan:
        (span,) = self.of(name)
        return span


@pytest.fixture
def spans() -> Spans:
    return Spans()


def facts_of(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def context_of(span: ReadableSpan) -> trace.SpanContext:
    assert span.context is not None
    return span.context


def name_of(context: trace.SpanContext) -> tuple[int, int]:
    return context.trace_id, context.span_id


def linked_to(span: ReadableSpan) -> list[tuple[int, int]]:
    return [name_of(link.context) for link in span.links]


class Refused(Exception):
    pass


@m25.queue("emails", errors=(Refused,), retry=m25.Retry(max_attempts=2, delay=60))
async def emails(to: str) -> str:
    if to == "nobody" and m25.current_job().attempt == 1:
        raise ConnectionError("no mail server")
    return trace.format_trace_id(trace.get_current_span().get_span_context().trace_id)


async def test_each_attempt_has_a_trace_of_its_own_and_a_link_to_who_has_sent_the_job(
    spans: Spans, autojump_clock: trio.testing.MockClock
) -> None:
    async with m25.testing.open(tracer=spans.tracer) as m:
        m.add_queue(emails)
        await m.start()
        with spans.provider.get_tracer("shop").start_as_current_span("order") as order:
            record = await m.enqueue(emails, "nobody")
        await m25.testing.drain(m, scheduled=True)
        output = await m.result(emails, record.id)
    sent = spans.one("send emails")
    assert sent.kind is SpanKind.PRODUCER
    assert sent.parent == order.get_span_context()
    first, second = spans.of("process emails")
    for number, attempt in enumerate((first, second), 1):
        assert attempt.kind is SpanKind.CONSUMER
        assert attempt.parent is None
        assert linked_to(attempt) == [name_of(context_of(sent))]
        assert facts_of(attempt)["m25.attempt"] == number
    for span, operation in ((sent, "send"), (first, "process")):
        assert (
            facts_of(span).items()
            >= {
                "messaging.system": "m25",
                "messaging.operation.name": operation,
                "messaging.operation.type": operation,
                "messaging.destination.name": "emails",
                "messaging.message.id": str(record.id),
            }.items()
        )
    assert len({context_of(span).trace_id for span in (sent, first, second)}) == 3
    assert first.status.status_code is StatusCode.ERROR
    assert facts_of(first)["error.type"] == "ConnectionError"
    assert second.status.status_code is StatusCode.UNSET
    assert output == trace.format_trace_id(context_of(second).trace_id)


async def crash() -> None:
    raise ValueError("a secret")


async def fail() -> None:
    raise Refused("no such mailbox")


async def put_off() -> None:
    raise m25.Snooze(60)


async def set_aside() -> None:
    await m25.current_job().sleep(days=1)


async def give_up() -> None:
    raise m25.GiveUp("never")


async def go_on() -> None:
    await trio.sleep_forever()


async def shield() -> None:
    with trio.CancelScope(shield=True):
        await trio.sleep(60)


ENDS: dict[str, tuple[Callable[[], Awaitable[None]], str, str | None, str | None]] = {
    # What the handler does: the outcome, the failure reason, `error.type`.
    "crashes": (crash, "failed", "crash", "ValueError"),
    "raises a declared error": (fail, "failed", "error", f"{__name__}.Refused"),
    "gives up": (give_up, "failed", "crash", "GiveUp"),
    "reaches its deadline": (go_on, "failed", "job_timeout", "job_timeout"),
    "goes on past its deadline": (shield, "failed", "job_timeout", "job_timeout"),
    "is put off": (put_off, "snoozed", None, None),
    "is set aside": (set_aside, "set_aside", None, None),
    "returns": (trio.lowlevel.checkpoint, "succeeded", None, None),
}


@pytest.mark.parametrize("ends", ENDS)
async def test_a_span_says_how_its_attempt_has_ended(
    ends: str, spans: Spans, autojump_clock: trio.testing.MockClock
) -> None:
    do, outcome, reason, error_type = ENDS[ends]

    @m25.queue("ends", errors=(Refused,), default_job_timeout=30)
    async def queue(_: None) -> None:
        await do()

    async with m25.testing.open(tracer=spans.tracer) as m:
        m.add_queue(queue)
        await m.start()
        await m.enqueue(queue, None)
        await m25.testing.drain(m)
    attempt = spans.one("process ends")
    facts = facts_of(attempt)
    assert facts["m25.outcome"] == outcome
    assert facts.get("m25.failure_reason") == reason
    assert facts.get("error.type") == error_type
    is_error = attempt.status.status_code is StatusCode.ERROR
    assert is_error is (error_type is not None)
    assert "a secret" not in str(attempt.status.description)
    assert [event.name for event in attempt.events] == (["exception"] if ends == "crashes" else [])


async def test_a_cancel_and_a_stop_do_not_look_like_success(spans: Spans) -> None:
    running = trio.Event()

    @m25.queue("ends")
    async def queue(_: int) -> None:
        running.set()
        await trio.sleep_forever()

    async with m25.testing.open(tracer=spans.tracer, shutdown_grace=0) as m:
        m.add_queue(queue)
        await m.start()
        record = await m.enqueue(queue, 1)
        await running.wait()
        await m.cancel_job(queue, record.id, running=True, wait=True)
        running = trio.Event()
        await m.enqueue(queue, 2)
        await running.wait()
    cancelled, released = spans.of("process ends")
    assert facts_of(cancelled)["m25.outcome"] == "cancelled"
    assert facts_of(released)["m25.outcome"] == "released"
    for span in (cancelled, released):
        assert span.status.status_code is StatusCode.ERROR
        assert facts_of(span)["error.type"] == facts_of(span)["m25.outcome"]


async def test_jobs_of_a_nursery_are_sent_by_the_attempt_that_starts_them(spans: Spans) -> None:
    @m25.queue("parts")
    async def parts(_: int) -> None: ...

    @m25.queue("wholes")
    async def wholes(_: None) -> None:
        async with m25.current_job().open_nursery() as nursery:
            await nursery.start_many(parts, [1, 2])

    async with m25.testing.open(tracer=spans.tracer) as m:
        m.add_queue(parts)
        m.add_queue(wholes)
        await m.start()
        await m.call(wholes, None)
    sent, whole = spans.one("send parts"), spans.one("process wholes")
    assert sent.parent == context_of(whole)
    assert facts_of(sent)["messaging.batch.message_count"] == 2
    for part in spans.of("process parts"):
        assert linked_to(part) == [name_of(context_of(sent))]


async def test_many_jobs_are_one_send_and_a_failed_send_is_an_error(spans: Spans) -> None:
    async with m25.testing.open(tracer=spans.tracer) as m:
        many = [m25.Job("ada", unique_key="ada"), m25.Job("ada", unique_key="ada")]
        found = await m.enqueue_many(emails, many, skip_conflicts=True)
        with pytest.raises(m25.UniqueKeyConflict):
            await m.enqueue(emails, many[0])
        record = await m.get_job(emails, found.ids[0])
    sent, refused = spans.of("send emails")
    assert facts_of(sent)["messaging.batch.message_count"] == 1
    assert record.meta == {"traceparent": traceparent_of(sent)}
    assert refused.status.status_code is StatusCode.ERROR
    assert facts_of(refused)["error.type"].endswith(".UniqueKeyConflict")


def traceparent_of(span: ReadableSpan) -> str:
    context = context_of(span)
    ids = f"{trace.format_trace_id(context.trace_id)}-{trace.format_span_id(context.span_id)}"
    return f"00-{ids}-{context.trace_flags:02x}"


async def test_a_job_may_carry_a_trace_of_its_makers(spans: Spans) -> None:
    with spans.provider.get_tracer("shop").start_as_current_span("web") as web:
        job = carry("ada")
        assert carry(m25.Job("ada", meta={"traceparent": "mine"})).meta == {"traceparent": "mine"}
    async with m25.testing.open(tracer=spans.tracer) as m:
        m.add_queue(emails)
        await m.start()
        record = await m.enqueue(emails, job)
        assert record.meta == job.meta
        await m.result(emails, record.id)
    assert linked_to(spans.one("process emails")) == [name_of(web.get_span_context())]
    assert carry("ada").meta is None


async def test_the_same_job_from_another_trace_is_the_same_job(spans: Spans) -> None:
    id = m25.JobId("0198c0de-0000-7000-8000-000000000000")
    job = m25.Job("ada", id=id, meta={"page": 3})
    async with m25.testing.open(tracer=spans.tracer) as m:
        first = await m.enqueue(emails, job)
        again = await m.enqueue(emails, job)
        assert first.meta == again.meta
        with pytest.raises(m25.errors.JobIdConflict):
            await m.enqueue(emails, m25.Job("ada", id=id, meta={"page": 4}))


async def test_without_a_tracer_nothing_is_carried() -> None:
    async with m25.testing.open() as m:
        record = await m.enqueue(emails, "ada")
        assert record.meta is None


# What is rare, as the events tell it


def running_job(meta: dict[str, Any] | None = None) -> Any:
    return SimpleNamespace(queue_name="emails", id="a1", job_id="a1", attempt=1, meta=meta)


async def test_a_lost_claim_ends_the_span_once_the_handler_has_ended(spans: Spans) -> None:
    async with spans.tracer.running(running_job()):
        spans.tracer(ClaimFenced(**FACTS))
        assert not spans.of("process emails")
    assert facts_of(spans.one("process emails"))["m25.outcome"] == "lost"


async def test_what_is_told_once_the_handler_has_ended_ends_the_span_at_that_time(
    spans: Spans,
) -> None:
    async with spans.tracer.running(running_job()):
        spans.tracer(RaisedWhileCancelled(error=ValueError(), **FACTS))
    left_at = time_ns()
    spans.tracer(CommitUnanswered(**FACTS))
    assert not spans.of("process emails")
    spans.tracer(ResultDiscarded(**FACTS))
    attempt = spans.one("process emails")
    assert attempt.end_time is not None
    assert attempt.end_time <= left_at
    assert [event.name for event in attempt.events] == [
        "RaisedWhileCancelled",
        "exception",
        "CommitUnanswered",
    ]


async def test_a_handler_that_goes_on_past_its_deadline_has_a_span_that_ends_there(
    spans: Spans,
) -> None:
    async with spans.tracer.running(running_job()):
        spans.tracer(HandlerOverran(timeout=1.0, next_attempt=False, **FACTS))
        assert facts_of(spans.one("process emails"))["m25.failure_reason"] == "job_timeout"


async def test_what_was_never_written_is_an_error(spans: Spans) -> None:
    async with spans.tracer.running(running_job()):
        pass
    spans.tracer(OutcomesUnwritten(queue="emails", job_ids=("a1", "b2")))
    attempt = spans.one("process emails")
    assert attempt.status.status_code is StatusCode.ERROR
    assert facts_of(attempt)["m25.outcome"] == "unwritten"


async def test_what_becomes_of_an_attempt_without_its_process_is_a_span_of_its_own(
    spans: Spans,
) -> None:
    spans.tracer(JobSwept(failure_reason="heartbeat_timeout", next_attempt=True, **FACTS))
    error = ValueError("no room")
    spans.tracer(OutcomeRefused(error=error, next_attempt=False, **FACTS))
    swept, refused = spans.of("settle emails")
    assert facts_of(swept)["error.type"] == "heartbeat_timeout"
    assert facts_of(swept)["m25.job_id"] == "a1"
    assert facts_of(refused)["m25.outcome"] == "refused"


async def test_what_was_raised_need_not_be_recorded() -> None:
    spans = Spans()
    tracer = OpenTelemetry(spans.provider, exceptions=False)

    @m25.queue("ends")
    async def queue(_: None) -> None:
        raise ValueError("a secret")

    async with m25.testing.open(tracer=tracer) as m:
        m.add_queue(queue)
        await m.start()
        await m.enqueue(queue, None)
        await m25.testing.drain(m)
    attempt = spans.one("process ends")
    assert facts_of(attempt)["error.type"] == "ValueError"
    assert list(attempt.events) == []


@pytest.mark.parametrize("wrong", [print, OpenTelemetry, "otel"], ids=repr)
async def test_what_is_no_tracer_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match="tracer must be"):
        async with m25.testing.open(tracer=wrong):
            pass


@pytest.mark.parametrize("wrong", [print, [print], "log"], ids=repr)
async def test_what_is_no_listener_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match="listeners"):
        async with m25.testing.open(listeners=wrong):
            pass
