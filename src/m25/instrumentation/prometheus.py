"""Counters and histograms of Prometheus from m25's events; needs `m25[prometheus]`.

    metrics = Prometheus()
    async with m25.open(dsn, listeners=[metrics]) as m:
        text = await metrics.scrape(m)

How long handlers run, and how many jobs have come to them, has the names and labels that
OpenTelemetry's conventions for messaging have, as Prometheus spells them; what these conventions do
not know begins with `m25_`. Labels are names of queues, outcomes, reasons and events: of ids there
is no end. A queue has a series from its first event on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import trio

try:
    from prometheus_client import (
        REGISTRY,
        CollectorRegistry,
        Counter,
        Gauge,
        Histogram,
        generate_latest,
    )
except ImportError as _missing:  # pragma: no cover - the extra is there where it is tested
    raise ImportError(
        "m25.instrumentation.prometheus needs prometheus_client: pip install 'm25[prometheus]'"
    ) from _missing

from .._errors import JobRecordFetchQueryError
from .._events import AttemptFailed, Event, JobCancelOverran, JobStarted, JobSucceeded
from ._endings import Ending, ending_of

if TYPE_CHECKING:
    from .._client import M25
    from .._operator import QueueRecord

#: Of the conventions' buckets, in seconds, and as many for handlers that take minutes.
_BUCKETS: Final = (
    *(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0, 30.0, 60.0, 300.0, 900.0, 3_600.0),
)
_CONVENTIONAL: Final = (
    "messaging_system",
    "messaging_operation_name",
    "messaging_destination_name",
)


class Prometheus:
    """A listener for `m25.open`, which keeps its metrics in a registry; one may serve several.

    Args:
        registry: where the metrics are; a second listener on the same one is refused by it, with
            `ValueError`.
    """

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self._registry = registry
        self._consumed = Counter(
            "messaging_client_consumed_messages",
            "Attempts whose handler was called.",
            _CONVENTIONAL,
            registry=registry,
        )
        self._durations = Histogram(
            "messaging_process_duration_seconds",
            "How long the handlers of attempts ran that have succeeded or failed.",
            (*_CONVENTIONAL, "error_type"),
            buckets=_BUCKETS,
            registry=registry,
        )
        self._attempts = Counter(
            "m25_attempts",
            "Attempts that have ended, by how, and by the failure reason of the record.",
            ("queue", "outcome", "reason"),
            registry=registry,
        )
        self._events = Counter(
            "m25_events",
            "Events, by their names in docs/events.md.",
            ("event", "queue"),
            registry=registry,
        )
        self._depth = _Depth(registry)

    async def scrape(self, m: M25, *, timeout: float = 1.0) -> bytes:
        """Ask the database what is on its queues, and return all metrics of the registry as text.

        Where the database has not answered by then, what is asked of it is left out, and
        `m25_database_up` is 0: an old number would look like a present one.

        Args:
            m: a client of the database; it need not run queues.
            timeout: how long the database may take, in seconds.

        Raises:
            ClientClosed: the client's block was left.
        """
        self._depth.clear()
        with trio.move_on_after(timeout):
            try:
                queues = await m.queues()
            except JobRecordFetchQueryError:
                pass
            else:
                self._depth.set(queues)
        return generate_latest(self._registry)

    def wants(self, _: type[Event], /) -> bool:
        """All are counted."""
        return True

    def __call__(self, event: Event, /) -> None:
        """Count an event."""
        queue: str = getattr(event, "queue", "")
        self._events.labels(type(event).__name__, queue).inc()
        if isinstance(event, JobStarted):
            self._consumed.labels(*_labels(queue)).inc()
        elif (ending := ending_of(event)) is not None and not isinstance(event, JobCancelOverran):
            # After that one `JobCancelled` tells of the same attempt.
            self._attempts.labels(queue, ending.outcome, ending.reason or "").inc()
            self._note_duration(event, queue, ending)

    def _note_duration(self, event: Event, queue: str, ending: Ending) -> None:
        seconds: float | None = None
        if isinstance(event, JobSucceeded):
            seconds = event.seconds
        elif isinstance(event, AttemptFailed):
            seconds = event.ran
        if seconds is not None:
            self._durations.labels(*_labels(queue), ending.error_type or "").observe(seconds)


class _Depth:
    """What is on the queues of a database, when it was last asked."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._up = Gauge(
            "m25_database_up", "Whether the database has answered in time.", registry=registry
        )
        self._jobs = Gauge(
            "m25_jobs",
            "Jobs in the database, by their state.",
            ("queue", "state"),
            registry=registry,
        )
        self._oldest = Gauge(
            "m25_oldest_due_timestamp_seconds",
            "Since when the first of the due jobs has been due.",
            ("queue",),
            registry=registry,
        )
        self._workers = Gauge(
            "m25_workers", "Workers that serve the queue.", ("queue",), registry=registry
        )
        self._paused = Gauge(
            "m25_queue_paused", "Whether the queue is paused.", ("queue",), registry=registry
        )

    def clear(self) -> None:
        """Forget what was there."""
        self._up.set(0)
        for gauge in (self._jobs, self._oldest, self._workers, self._paused):
            gauge.clear()

    def set(self, queues: Sequence[QueueRecord]) -> None:
        """Note what is there."""
        self._up.set(1)
        for queue in queues:
            for state in ("due", "scheduled", "waiting", "running", "failed"):
                self._jobs.labels(queue.name, state).set(getattr(queue, state))
            if queue.due_since is not None:
                self._oldest.labels(queue.name).set(queue.due_since.timestamp())
            self._workers.labels(queue.name).set(queue.workers)
            self._paused.labels(queue.name).set(queue.paused_at is not None)


def _labels(queue: str) -> tuple[Any, ...]:
    return ("m25", "process", queue)
