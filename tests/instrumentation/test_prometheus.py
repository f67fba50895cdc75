"""Counters and histograms: what has ended, how, and how long it took."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
import trio
from prometheus_client import CollectorRegistry

import m25
import m25.testing
from m25 import _events
from m25._events import DatabaseFailing, JobCancelled, JobCancelOverran
from m25.instrumentation.prometheus import Prometheus

CONVENTIONAL = {"messaging_system": "m25", "messaging_operation_name": "process"}


class Refused(Exception):
    pass


@m25.queue("sums", errors=(Refused,), default_job_timeout=30)
async def sums(what: str) -> None:
    await trio.sleep(2)
    match what:
        case "fails":
            raise Refused
        case "crashes":
            raise ValueError("a secret")
        case "hangs":
            await trio.sleep_forever()
        case "snoozes":
            raise m25.Snooze(60)


async def test_what_has_ended_is_counted_by_how(autojump_clock: trio.testing.MockClock) -> None:
    registry = CollectorRegistry()
    async with m25.testing.open(listeners=[Prometheus(registry)]) as m:
        m.add_queue(sums)
        await m.start()
        for what in ("returns", "returns", "fails", "crashes", "hangs", "snoozes"):
            await m.enqueue(sums, what)
        await m25.testing.drain(m)

    def ended(outcome: str, reason: str = "") -> float | None:
        labels = {"queue": "sums", "outcome": outcome, "reason": reason}
        return registry.get_sample_value("m25_attempts_total", labels)

    assert ended("succeeded") == 2
    assert ended("failed", "error") == 1
    assert ended("failed", "crash") == 1
    assert ended("failed", "job_timeout") == 1
    assert ended("snoozed") == 1
    labels = {**CONVENTIONAL, "messaging_destination_name": "sums"}
    assert registry.get_sample_value("messaging_client_consumed_messages_total", labels) == 6

    def ran(error_type: str) -> float | None:
        return registry.get_sample_value(
            "messaging_process_duration_seconds_sum", {**labels, "error_type": error_type}
        )

    assert ran("") == pytest.approx(4)
    assert ran(f"{__name__}.Refused") == pytest.approx(2)
    assert ran("ValueError") == pytest.approx(2)
    assert ran("job_timeout") == pytest.approx(30)
    within = {**labels, "error_type": "", "le": "2.5"}
    assert registry.get_sample_value("messaging_process_duration_seconds_bucket", within) == 2
    by_name = {"event": "JobStarted", "queue": "sums"}
    assert registry.get_sample_value("m25_events_total", by_name) == 6


def test_a_cancelled_attempt_is_counted_once_though_two_events_tell_of_it() -> None:
    registry = CollectorRegistry()
    metrics = Prometheus(registry)
    facts = {"queue": "sums", "job_id": "a1", "attempt": 1, "max_attempts": 1}
    metrics(JobCancelOverran(grace=1.0, **facts))
    metrics(JobCancelled(by=None, reason=None, **facts))
    labels = {"queue": "sums", "outcome": "cancelled", "reason": ""}
    assert registry.get_sample_value("m25_attempts_total", labels) == 1


async def test_a_scrape_asks_the_database_what_is_on_its_queues() -> None:
    registry = CollectorRegistry()
    metrics = Prometheus(registry)

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(name, {"queue": "sums", **labels})

    async with m25.testing.open(listeners=[metrics]) as m:
        tomorrow = datetime.now(UTC) + timedelta(days=1)
        first = await m.enqueue(sums, "returns")
        await m.enqueue(sums, "returns")
        await m.enqueue(sums, m25.Job("returns", scheduled_at=tomorrow))
        await m.pause(sums)
        text = await metrics.scrape(m)
        assert b'm25_jobs{queue="sums",state="due"} 2.0' in text
        assert value("m25_jobs", state="scheduled") == 1
        assert value("m25_jobs", state="running") == 0
        assert value("m25_queue_paused") == 1
        assert value("m25_workers") == 0
        created = first.created_at.timestamp()
        assert value("m25_oldest_due_timestamp_seconds") == pytest.approx(created)


async def test_a_database_that_does_not_answer_leaves_no_old_numbers(
    autojump_clock: trio.testing.MockClock,
) -> None:
    registry = CollectorRegistry()
    metrics = Prometheus(registry)
    state = "answers"

    async def fault(call: str, when: str) -> None:
        if state == "hangs":
            await trio.sleep(3600)
        if state == "is away":
            raise psycopg.OperationalError("the server is gone")

    async with m25.testing.open(m25.testing.MemoryStore(fault=fault)) as m:
        await m.enqueue(sums, "returns")
        await metrics.scrape(m)
        assert registry.get_sample_value("m25_database_up") == 1
        for present in ("hangs", "is away"):
            state = present
            began = trio.current_time()
            assert b"m25_jobs{" not in await metrics.scrape(m, timeout=2)
            assert trio.current_time() - began < 60
            assert registry.get_sample_value("m25_database_up") == 0
        state = "answers"


BOARD = Path(__file__).parents[2] / "examples" / "grafana" / "m25.json"


#: In a query: series, as `m25_jobs{queue=~"$queue",state="due"}`, and what they are summed up by.
SERIES = re.compile(r"\b((?:m25|messaging)_\w+)(?:\{([^}]*)\})?")
MATCHER = re.compile(r'(\w+)(=~?)"([^"]*)"')
BY = re.compile(r"\bby \(([^)]*)\)")


def board_queries() -> list[tuple[str, str]]:
    """The queries of all panels, each with what its legend says."""
    board = json.loads(BOARD.read_text(encoding="utf-8"))
    targets = [target for panel in board["panels"] for target in panel["targets"]]
    return [(target["expr"], target["legendFormat"]) for target in targets]


async def test_each_query_of_the_board_finds_series_that_are_exported(
    autojump_clock: trio.testing.MockClock,
) -> None:
    registry = CollectorRegistry()
    metrics = Prometheus(registry)
    async with m25.testing.open(listeners=[metrics]) as m:
        m.add_queue(sums)
        await m.start()
        for what in ("returns", "fails"):
            await m.enqueue(sums, what)
        await m25.testing.drain(m)
        # One that is due, and so has been for some time.
        await m.pause(sums)
        await m.enqueue(sums, "returns")
        await metrics.scrape(m)
    exported: dict[str, list[dict[str, str]]] = {}
    for family in registry.collect():
        for sample in family.samples:
            exported.setdefault(sample.name, []).append(sample.labels)
    events = {each.__name__ for each in vars(_events).values() if isinstance(each, type)}
    queries = board_queries()
    for query, legend in queries:
        names = re.sub(r"\{[^}]*\}|\bby \([^)]*\)", "", query)
        found = [match for match in SERIES.finditer(query) if match[1] in names]
        assert found, query
        by = {name.strip() for names in BY.findall(query) for name in names.split(",")}
        for name, matchers in (match.groups() for match in found):
            assert name in exported, query
            assert by <= exported[name][0].keys(), query
            for label, operator, value in MATCHER.findall(matchers or ""):
                values = {labels[label] for labels in exported[name]}
                if operator == "=":
                    assert value in values, (query, label)
                elif value != "$queue":
                    assert {*value.split("|")} <= events, (query, label)
        assert {*re.findall(r"\{\{(\w+)\}\}", legend)} <= by, query
    assert len(queries) > 10


def test_the_board_is_laid_out_as_grafana_reads_it() -> None:
    board = json.loads(BOARD.read_text(encoding="utf-8"))
    assert "label_values(m25_jobs, queue)" in [
        each["query"] for each in board["templating"]["list"]
    ]
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    assert all({"h", "w", "x", "y"} == set(panel["gridPos"]) for panel in board["panels"])


def test_an_event_of_no_queue_is_counted_without_one() -> None:
    registry = CollectorRegistry()
    Prometheus(registry)(DatabaseFailing(problem="it is away"))
    labels = {"event": "DatabaseFailing", "queue": ""}
    assert registry.get_sample_value("m25_events_total", labels) == 1
