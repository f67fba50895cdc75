"""A job that runs is cancelled: its handler is told, and what the handler then does counts."""

from __future__ import annotations

import logging
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import trio.testing

import m25
import m25.testing
from m25._client import open_on
from m25._store.memory import MemoryStore
from m25._store.protocol import CancelRequest
from m25._worker.endings import words_of
from support.cpu import endless
from support.failing import connection_lost, failing, once
from support.insides import store_of
from support.muted import MutedStore
from support.processes import worker
from support.told import told
from support.waiting import PATIENCE, chain, ended, eventually, rows

CANCELLED, FAILED, SUCCEEDED = (
    m25.JobStatus.CANCELLED,
    m25.JobStatus.FAILED,
    m25.JobStatus.SUCCEEDED,
)


class NoFunds(Exception):
    pass


@attrs.define
class Handler:
    """A handler that waits until it is cancelled, and what it saw of that."""

    #: What it does once it is cancelled; by default it lets the cancellation pass.
    then: Callable[[], Any] | None = None
    #: How long it cleans up, shielded, in seconds, and what it waits for then.
    takes: float = 0.0
    until: trio.Event | None = None
    begun: trio.Event = attrs.field(factory=trio.Event)
    over: trio.Event = attrs.field(factory=trio.Event)
    #: Why it was cancelled, as it was told.
    reasons: list[str] = attrs.field(factory=list)

    async def __call__(self, number: int) -> int:
        self.begun.set()
        try:
            await trio.sleep_forever()
        except trio.Cancelled as cancelled:
            self.reasons.append(str(cancelled))
            with trio.CancelScope(shield=True):
                await trio.sleep(self.takes)
                if self.until is not None:
                    await self.until.wait()
            if self.then is None:
                raise
            self.then()
        finally:
            self.over.set()
        return number

    @property
    def reason(self) -> str:
        """The same, where it was cancelled once."""
        (reason,) = self.reasons
        return reason


def raising(error: Exception) -> Callable[[], Any]:
    def raise_it() -> None:
        raise error

    return raise_it


def returning() -> None:
    """Return although cancelled."""


def queue(handler: Handler, **options: Any) -> m25.Queue[int, int, Any]:
    options.setdefault("errors", (NoFunds,))
    return m25.Queue("slow", handler_function=handler.__call__, **options)


@asynccontextmanager
async def running(
    conn: str | MemoryStore, slow: m25.Queue[int, int, Any], grace: float = 5, **job: Any
) -> AsyncGenerator[tuple[m25.M25, m25.JobId]]:
    """A client that runs the queue, on which there is a job."""
    opened = (
        m25.open(conn, shutdown_grace=grace)
        if isinstance(conn, str)
        else open_on(conn, grace=timedelta(seconds=grace))
    )
    async with opened as m:
        m.add_queue(slow)
        await m.start()
        yield m, (await m.enqueue(slow, m25.Job(1, **job))).id


@asynccontextmanager
async def begun(
    conn: str | MemoryStore,
    handler: Handler,
    grace: float = 5,
    **options: Any,
) -> AsyncGenerator[tuple[m25.M25, m25.Queue[int, int, Any], m25.JobId]]:
    """The same, once the job's handler has begun."""
    slow = queue(handler, **options)
    async with running(conn, slow, grace, max_attempts=3) as (m, id):
        await handler.begun.wait()
        yield m, slow, id


# What the handler is told, and when


async def test_a_running_job_is_cancelled_at_once_and_its_handler_is_told_why(
    dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "m25")
    handler = Handler()
    async with (
        begun(dsn, handler, heartbeat_interval=600) as (_, slow, id),
        m25.open(dsn) as another,
    ):
        asked = await another.cancel_job(slow, id, running=True, by="ada", reason="not needed")
        assert asked.status is m25.JobStatus.EXECUTING
        assert asked.cancel_requested_at is not None
        # Long before a heartbeat.
        with trio.fail_after(60):
            await handler.over.wait()
            record = await ended(another, slow, id)
    assert "'ada': not needed" in handler.reason
    assert record.status is CANCELLED
    assert (record.cancelled_by, record.cancel_reason) == ("ada", "not needed")
    assert record.finished_at is None
    assert told(caplog, id) == ["JobCancelled"]
    assert "asked for by 'ada', because 'not needed'" in caplog.text
    assert len(await chain(dsn, id)) == 1


async def test_without_notifications_it_is_cancelled_by_a_heartbeat(
    autojump_clock: trio.testing.MockClock,
) -> None:
    handler = Handler()
    async with begun(MutedStore(), handler, heartbeat_interval=4) as (m, slow, id):
        asked_at = trio.current_time()
        await m.cancel_job(slow, id, running=True)
        await handler.over.wait()
        assert trio.current_time() - asked_at <= 4
        assert (await ended(m, slow, id)).status is CANCELLED


async def test_a_notification_alone_cancels_nobody(dsn: str) -> None:
    handler = Handler()
    async with begun(dsn, handler, grace=0) as (m, slow, id):
        store = store_of(m)
        looked = trio.Event()
        original = store.find_cancel_requests

        async def look(claims: Any) -> Any:
            answer = await original(claims)
            looked.set()
            return answer

        store.find_cancel_requests = look
        channel = store._calls.channel("slow")
        await rows(dsn, "select pg_notify(%(channel)s, %(id)s)::text", channel=channel, id=str(id))
        await looked.wait()
        assert (await m.get_job(slow, id)).status is m25.JobStatus.EXECUTING
        assert handler.reasons == []


async def test_a_request_that_comes_with_the_claims_answer_is_not_missed(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MemoryStore()
    handler = Handler()
    slow = queue(handler, heartbeat_interval=60)
    original = store.claim

    async def claim(*args: Any, on_rows: Any = None, **options: Any) -> Any:
        claimed = await original(*args, **options)
        for row in claimed:
            await store.request_cancel(row.id, "slow")
            # The listener has heard of it before the claimer has its answer.
            await trio.testing.wait_all_tasks_blocked()
        return claimed

    monkeypatch.setattr(store, "claim", claim)
    async with running(store, slow) as (m, id):
        asked_at = trio.current_time()
        assert (await ended(m, slow, id)).status is CANCELLED
        assert trio.current_time() - asked_at < 1


async def test_a_database_that_does_not_answer_is_asked_again(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = Handler()
    async with begun(dsn, handler, heartbeat_interval=60) as (m, slow, id):
        failure = once(connection_lost("find_cancel_requests"))
        failing(monkeypatch, store_of(m), "find_cancel_requests", failure)
        await m.cancel_job(slow, id, running=True)
        assert (await ended(m, slow, id)).status is CANCELLED


# What becomes of the job is its handler's to say


async def test_a_handler_that_returns_although_cancelled_has_succeeded(
    autojump_clock: trio.testing.MockClock,
) -> None:
    # Its lease is renewed meanwhile: it would be over after three seconds.
    handler = Handler(returning, takes=30)
    options = {"heartbeat_interval": 1, "allowed_heartbeat_misses": 2, "cancel_grace": 60}
    async with begun(MemoryStore(), handler, **options) as (m, slow, id):
        await m.cancel_job(slow, id, running=True)
        await handler.over.wait()
        record = await ended(m, slow, id)
    assert (record.status, record.output) == (SUCCEEDED, 1)
    assert record.cancel_requested_at is not None


@pytest.mark.parametrize("error", [NoFunds("of them"), ValueError("no")])
async def test_a_handler_that_raises_while_cancelled_has_failed_and_is_not_tried_again(
    dsn: str, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "m25")
    handler = Handler(raising(error))
    async with begun(dsn, handler) as (m, slow, id):
        await m.cancel_job(slow, id, running=True)
        record = await ended(m, slow, id)
    declared = isinstance(error, NoFunds)
    assert record.status is FAILED
    assert record.failure_reason is m25.FailureReason("error" if declared else "crash")
    assert len(await chain(dsn, id)) == 1
    assert told(caplog, id) == ["JobErrored" if declared else "JobCrashed"]
    assert "no attempt is left" in caplog.text


async def test_where_the_handler_fails_before_it_hears_of_its_cancel_that_is_told(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "m25")
    begun, go = trio.Event(), trio.Event()

    @m25.queue("slow", heartbeat_interval=60)
    async def slow(number: int) -> int:
        begun.set()
        await go.wait()
        raise ValueError

    async with running(MutedStore(), slow, max_attempts=3) as (m, id):
        await begun.wait()
        await m.cancel_job(slow, id, running=True)
        go.set()
        assert (await ended(m, slow, id)).status is FAILED
        await trio.sleep(1)
        assert len(m25.testing.jobs(m, slow)) == 1
    assert told(caplog, id) == ["JobCrashed", "RetryCancelled"]


async def test_a_handler_that_goes_on_is_left_to_itself_after_the_grace(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "m25")
    handler = Handler(returning, takes=30)
    options = {"cancel_grace": 5, "heartbeat_interval": 60, "max_concurrency": 1}
    async with begun(MemoryStore(), handler, **options) as (m, slow, id):
        asked_at = trio.current_time()
        await m.cancel_job(slow, id, running=True)
        record = await ended(m, slow, id)
        assert record.status is CANCELLED
        assert 5 <= trio.current_time() - asked_at < 6
        # Its slot stays taken until it has ended.
        other = (await m.enqueue(slow, 2)).id
        await trio.sleep(10)
        assert (await m.get_job(slow, other)).status is m25.JobStatus.PENDING
        await handler.over.wait()
        assert (await m.get_job(slow, id)).status is CANCELLED
    assert told(caplog, id) == ["JobCancelOverran", "JobCancelled", "ResultDiscarded"]


async def test_a_job_in_setup_is_cancelled_and_its_handler_never_called(dsn: str) -> None:
    entered = trio.Event()
    called = False

    @asynccontextmanager
    async def setup() -> AsyncIterator[None]:
        entered.set()
        await trio.sleep_forever()
        yield

    @m25.queue("slow", setup=setup, executor_init_timeout=600, reserved_timeout=700)
    async def slow(number: int, resource: None) -> int:
        nonlocal called
        called = True
        return number

    async with running(dsn, slow) as (m, id):
        await entered.wait()
        asked = await m.cancel_job(slow, id, running=True)
        assert asked.status is m25.JobStatus.RESERVED
        with trio.fail_after(60):
            assert (await ended(m, slow, id)).status is CANCELLED
    assert not called


async def test_what_setup_raises_while_it_is_cancelled_is_told_and_the_job_is_cancelled(
    dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "m25")
    entered = trio.Event()

    @asynccontextmanager
    async def setup() -> AsyncIterator[None]:
        entered.set()
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            raise OSError("could not close") from None
        yield

    @m25.queue("slow", setup=setup, executor_init_timeout=20, reserved_timeout=30)
    async def slow(number: int, resource: None) -> int:
        return number

    async with running(dsn, slow) as (m, id):
        await entered.wait()
        await m.cancel_job(slow, id, running=True)
        assert (await ended(m, slow, id)).status is CANCELLED
    assert told(caplog, id) == ["RaisedWhileCancelled", "JobCancelled"]


async def test_a_handler_that_has_returned_is_not_cancelled_while_setup_is_left(
    autojump_clock: trio.testing.MockClock,
) -> None:
    leaving, left = trio.Event(), trio.Event()

    @asynccontextmanager
    async def setup() -> AsyncIterator[None]:
        yield
        leaving.set()
        await trio.sleep(3)
        left.set()

    @m25.queue("slow", setup=setup, executor_init_timeout=20, reserved_timeout=30)
    async def slow(number: int, resource: None) -> int:
        return number

    async with running(MemoryStore(), slow) as (m, id):
        await leaving.wait()
        await m.cancel_job(slow, id, running=True)
        record = await ended(m, slow, id)
    assert left.is_set()
    assert (record.status, record.output) == (SUCCEEDED, 1)


async def test_a_thread_that_is_cancelled_ends_by_itself_within_the_grace(dsn: str) -> None:
    begun, go = trio.Event(), threading.Event()

    @m25.queue("slow", runs="thread")
    def slow(number: int) -> int:
        trio.from_thread.run_sync(begun.set)
        go.wait()
        return number

    async with running(dsn, slow) as (m, id):
        await begun.wait()
        await m.cancel_job(slow, id, running=True)
        go.set()
        assert (await ended(m, slow, id)).status is SUCCEEDED


async def test_a_thread_that_goes_on_is_left_to_itself_after_the_grace(
    dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "m25")
    begun, go = trio.Event(), threading.Event()

    @m25.queue("slow", runs="thread", cancel_grace=0.2)
    def slow(number: int) -> int:
        trio.from_thread.run_sync(begun.set)
        go.wait()
        return number

    async with running(dsn, slow) as (m, id):
        await begun.wait()
        await m.cancel_job(slow, id, running=True)
        assert (await ended(m, slow, id)).status is CANCELLED
        go.set()
    assert set(told(caplog, id)) == {"JobCancelOverran", "JobCancelled", "ResultDiscarded"}


async def test_a_process_that_is_cancelled_is_killed(dsn: str, tmp_path: Path) -> None:
    path = tmp_path / "pid"
    async with m25.open(dsn) as m:
        m.add_queue(endless)
        await m.start(PATIENCE)
        id = (await m.enqueue(endless, str(path))).id

        async def is_at_work() -> bool:
            return path.exists()

        await eventually(is_at_work)
        await m.cancel_job(endless, id, running=True)
        # Long before its grace is over.
        with trio.fail_after(endless.cancel_grace.total_seconds() / 2):
            assert (await ended(m, endless, id)).status is CANCELLED


# Together with deadlines, stops and lost claims


async def test_a_job_that_is_lost_while_it_is_being_cancelled_is_fenced_and_told_once(
    dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "m25")
    handler = Handler(returning, until=trio.Event())
    options = {"heartbeat_interval": 0.1, "allowed_heartbeat_misses": 500}
    async with begun(dsn, handler, cancel_grace=600, **options) as (m, slow, id):
        await m.cancel_job(slow, id, running=True)

        async def cancelled() -> bool:
            return bool(handler.reasons)

        async def fenced() -> bool:
            return bool(told(caplog, id))

        await eventually(cancelled)
        await rows(dsn, "update m25.job set claim_token = null")
        await eventually(fenced)
        handler.until.set()
        await handler.over.wait()
    assert told(caplog, id) == ["ClaimFenced", "ResultDiscarded"]


async def test_a_cancel_that_comes_after_the_deadline_is_too_late(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "m25")
    handler = Handler(takes=3)
    async with begun(MemoryStore(), handler, default_job_timeout=2) as (m, slow, id):
        await trio.sleep(3)
        await m.cancel_job(slow, id, running=True)
        record = await ended(m, slow, id)
        assert record.failure_reason is m25.FailureReason.JOB_TIMEOUT
        await trio.sleep(1)
        assert len(m25.testing.jobs(m, slow)) == 1
    assert told(caplog, id) == ["JobTimedOut"]
    assert "no attempt is left" in caplog.text
    assert "deadline" in handler.reason


async def test_a_cancel_is_too_late_too_where_the_handler_goes_on_past_its_deadline(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    handler = Handler(takes=60)
    options: dict[str, Any] = {"heartbeat_interval": 5, "cancel_grace": 20}
    async with begun(MemoryStore(), handler, default_job_timeout=2, **options) as (m, slow, id):
        await trio.sleep(3)
        await m.cancel_job(slow, id, running=True)
        # The attempt ends a heartbeat after its deadline, and not a grace after the cancel.
        await trio.sleep(10)
        record = await m.get_job(slow, id)
        assert (record.status, record.failure_reason) == (FAILED, m25.FailureReason.JOB_TIMEOUT)
        await handler.over.wait()
    assert "JobCancelOverran" not in told(caplog, id)


async def test_a_deadline_that_passes_during_the_clean_up_changes_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    handler = Handler(takes=3)
    async with begun(MemoryStore(), handler, default_job_timeout=2) as (m, slow, id):
        await m.cancel_job(slow, id, running=True)
        assert (await ended(m, slow, id)).status is CANCELLED


@pytest.mark.parametrize("allowed_losses", [3, 0])
async def test_a_stop_while_a_cancel_is_under_way_leaves_the_job_cancelled(
    dsn: str, allowed_losses: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "m25")
    handler = Handler(takes=0.3)
    async with begun(dsn, handler, grace=0, allowed_losses=allowed_losses) as (m, slow, id):
        await m.cancel_job(slow, id, running=True)

        async def cancelled() -> bool:
            return bool(handler.reasons)

        await eventually(cancelled)
    async with m25.open(dsn) as m:
        assert (await m.get_job(slow, id)).status is CANCELLED
    assert told(caplog, id) == ["JobCancelled"]


async def test_a_job_that_a_stop_cuts_short_before_it_hears_of_its_cancel_is_cancelled(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "m25")
    store = MutedStore()
    handler = Handler()
    async with begun(store, handler, grace=0, heartbeat_interval=60) as (m, slow, id):
        await m.cancel_job(slow, id, running=True, by="ada")
    (row,) = store.rows()
    assert row.status == "cancelled"
    assert "shutting down" in handler.reason
    assert told(caplog, id) == ["JobReleased", "JobCancelled"]
    assert "asked for by 'ada'" in caplog.text


async def test_a_cancel_whose_answer_was_lost_is_told_all_the_same(
    dsn: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, "m25")
    handler = Handler()
    async with begun(dsn, handler) as (m, slow, id):
        store = store_of(m)
        original, lost = store.release, once(connection_lost("release"))

        async def release(*arguments: Any) -> Any:
            answer = await original(*arguments)
            if (error := lost()) is not None:
                raise error
            return answer

        monkeypatch.setattr(store, "release", release)
        await m.cancel_job(slow, id, running=True)
        assert (await ended(m, slow, id)).status is CANCELLED
    assert told(caplog, id) == ["JobCancelled"]


async def test_the_job_of_a_process_that_is_gone_is_cancelled_by_another(
    dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "m25")

    @m25.queue("sleeps", poll_interval=0.2, heartbeat_interval=0.3, allowed_heartbeat_misses=1)
    async def sleeps(seconds: float) -> None:
        pytest.fail("it was cancelled, and began again")

    async with m25.open(dsn) as m:
        id = (await m.enqueue(sleeps, m25.Job(30.0, max_attempts=3))).id
        async with worker(dsn) as gone:
            await gone.until_printed("begun")
            gone.process.kill()
            await gone.process.wait()
        await m.cancel_job(sleeps, id, running=True, by="ada")
        m.add_queue(sleeps)
        await m.start()
        record = await ended(m, sleeps, id)
    assert (record.status, record.cancelled_by) == (CANCELLED, "ada")
    assert told(caplog, id) == ["CancelSwept"]
    assert len(await chain(dsn, id)) == 1


# Reasons


async def test_every_cancel_says_why(dsn: str) -> None:
    async def reason(then: Any = None, **options: Any) -> str:
        await rows(dsn, "delete from m25.job")
        handler = Handler()
        with trio.CancelScope() as scope:
            async with begun(dsn, handler, grace=0, **options):
                if then is not None:
                    await then(handler, scope)
        return handler.reasons[0]

    async def lose(handler: Handler, _: object) -> None:
        await rows(dsn, "update m25.job set claim_token = null")
        await handler.over.wait()

    async def wait(handler: Handler, _: object) -> None:
        await handler.over.wait()

    async def leave(_: object, scope: trio.CancelScope) -> None:
        scope.cancel(reason="tired")
        await trio.lowlevel.checkpoint()

    assert "shutting down" in await reason()
    assert "claim lost" in await reason(lose, heartbeat_interval=0.1)
    assert "deadline" in await reason(wait, default_job_timeout=0.1)
    assert "tired" in await reason(leave)


async def test_no_log_line_and_no_row_repeats_why_a_handler_was_cancelled(
    dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    # Trio cancels the tasks of a nursery with the text of what one of them raised.
    handler = Handler(raising(ValueError("could not clean up")))
    slow = queue(handler)

    async def neighbour() -> None:
        await handler.begun.wait()
        raise LookupError("a secret of the neighbour's")

    async with m25.open(dsn) as m:
        m.add_queue(slow)
        await m.enqueue(slow, 1)
        with pytest.raises(ExceptionGroup):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(neighbour)
                await nursery.start(m.run)
                await trio.sleep_forever()
    assert "secret" in handler.reason
    assert "could not clean up" in caplog.text
    assert "secret" not in caplog.text
    assert "Cancelled" in caplog.text
    async with m25.open(dsn) as m:
        handler.begun = trio.Event()
        m.add_queue(slow)
        await m.start()
        await handler.begun.wait()
        (row,) = await rows(dsn, "select id from m25.job")
        id = m25.JobId(row["id"])
        await m.cancel_job(slow, id, running=True, reason="a secret of the operator's")
        record = await ended(m, slow, id)
    assert record.crash_traceback is not None
    assert "Cancelled" in record.crash_traceback
    assert "secret" not in record.crash_traceback
    assert "secret" not in caplog.text


def test_a_request_is_put_in_words() -> None:
    assert words_of(CancelRequest("", None, None)) == "cancel asked for"
    assert words_of(CancelRequest("", "ada", "no")) == "cancel asked for by 'ada': no"


async def test_a_request_that_nobody_heard_is_found_once_the_worker_listens_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun = trio.Event()

    @m25.queue("unheard", heartbeat_interval=60, poll_interval=60)
    async def unheard(_: None) -> None:
        begun.set()
        await trio.sleep_forever()

    async with m25.testing.open() as m:
        m.add_queue(unheard)
        await m.start()
        id = (await m.enqueue(unheard, None)).id
        await begun.wait()
        listeners = store_of(m)._listeners
        monkeypatch.setattr(listeners, "ask_to_cancel", lambda _: None)
        await m.cancel_job(unheard, id, running=True)
        for listener in listeners._workers:
            # As after a new connection: nobody knows what was missed.
            listener._heard(None)
        with trio.fail_after(PATIENCE):
            record = await m.wait(unheard, id)
    assert record.status is m25.JobStatus.CANCELLED
