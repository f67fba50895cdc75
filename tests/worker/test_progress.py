"""What handlers report of their jobs, and cursors that outlast an attempt."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import attrs
import pytest
import trio
import trio.testing

import m25
import m25.testing
from m25._store.memory import MemoryStore
from support.failing import connection_lost, failing
from support.insides import store_of
from support.told import told
from support.waiting import PATIENCE, eventually, rows


async def test_reports_are_followed_until_the_job_has_ended(
    autojump_clock: trio.testing.MockClock,
) -> None:
    @m25.queue("steps")
    async def steps(count: int) -> None:
        for number in range(1, count + 1):
            await m25.current_job().report(done=number, total=count, note=f"step {number}")
            await trio.sleep(10)

    async with m25.testing.open() as m:
        m.add_queue(steps)
        await m.start()
        record = await m.enqueue(steps, 3)
        seen = [progress async for progress in m.progress(steps, record.id)]
    assert seen == [m25.Progress(number, 3, f"step {number}") for number in (1, 2, 3)]


async def test_the_last_report_is_there_when_the_job_has_ended(dsn: str) -> None:
    @m25.queue("quick")
    async def quick(count: int) -> None:
        await m25.current_job().report(done=count, total=count)

    async with m25.open(dsn) as m:
        m.add_queue(quick)
        await m.start()
        record = await m.enqueue(quick, 7)
        with trio.fail_after(PATIENCE):
            await m.wait(quick, record.id)
            assert [each async for each in m.progress(quick, record.id)] == [m25.Progress(7, 7)]


async def test_all_reports_of_a_heartbeat_take_one_statement(
    autojump_clock: trio.testing.MockClock,
) -> None:
    @m25.queue("chatty", heartbeat_interval=5)
    async def chatty(_: int) -> None:
        for number in range(1000):
            await m25.current_job().report(done=number)
            await trio.sleep(0.01)

    store = MemoryStore()
    reported: list[int] = []
    original = store.report

    async def report(claims: Any, progress: Any) -> Any:
        reported.append(len(claims))
        return await original(claims, progress)

    store.report = report  # type: ignore[method-assign]
    async with m25.testing.open(store) as m:
        m.add_queue(chatty)
        await m.start()
        await m.enqueue_many(chatty, range(8))
        await m25.testing.drain(m)
    # Once or twice while they run, and before they end.
    assert reported[0] == 8
    assert len(reported) < 12


async def test_a_report_is_written_before_the_attempt_is_released(
    autojump_clock: trio.testing.MockClock,
) -> None:
    store = MemoryStore()
    begun = trio.Event()

    @m25.queue("interrupted")
    async def interrupted(_: None) -> None:
        await m25.current_job().report(note="half way")
        begun.set()
        await trio.sleep_forever()

    async with m25.testing.open(store, shutdown_grace=0) as m:
        m.add_queue(interrupted)
        await m.start()
        record = await m.enqueue(interrupted, m25.Job(None, timeout=3600))
        await begun.wait()
    async with m25.testing.open(store) as m:
        with trio.move_on_after(2):
            async for progress in m.progress(interrupted, record.id):
                assert progress == m25.Progress(note="half way")
                break
            else:
                pytest.fail("nothing was reported")


async def test_a_report_outlasts_a_lost_connection(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MemoryStore()
    errors = [connection_lost("report")] * 3
    failing(monkeypatch, store, "report", lambda: errors.pop() if errors else None)

    @m25.queue("q")
    async def handler(_: None) -> None:
        await m25.current_job().report(done=1)

    async with m25.testing.open(store) as m:
        m.add_queue(handler)
        await m.start()
        await m.call(handler, None)
        (row,) = store.rows()
        assert not errors
        assert json.loads(row.progress or "") == {
            "report": {"done": 1, "total": None, "note": None},
            "cursors": {},
        }


async def test_a_row_that_is_locked_gets_its_report_before_its_outcome(dsn: str) -> None:
    reported = trio.Event()
    go_on = trio.Event()

    @m25.queue("locked")
    async def locked(_: None) -> None:
        await m25.current_job().report(note="last words")
        reported.set()
        await go_on.wait()

    async with m25.open(dsn) as m, await m25.pg.AsyncConnection.connect(dsn) as stranger:
        m.add_queue(locked)
        await m.start()
        record = await m.enqueue(locked, None)
        await reported.wait()
        await stranger.execute("select from m25.job for update")
        tried = trio.Event()
        store = store_of(m)
        report = store.report

        async def reports(*arguments: Any) -> Any:
            answer = await report(*arguments)
            tried.set()
            return answer

        store.report = reports
        go_on.set()
        await tried.wait()
        await stranger.rollback()
        with trio.fail_after(PATIENCE):
            await m.wait(locked, record.id)
            seen = [each async for each in m.progress(locked, record.id)]
    assert seen == [m25.Progress(note="last words")]


async def test_a_refused_report_is_dropped_and_the_job_goes_on(
    dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    await rows(
        dsn,
        "alter table m25.job add constraint short check (length(progress::text) < 200)",
    )

    @m25.queue("talkative")
    async def talkative(length: int) -> int:
        await m25.current_job().report(note="x" * length)
        return length

    async with m25.open(dsn) as m:
        m.add_queue(talkative)
        await m.start()
        outputs: list[int] = []

        async def call(length: int) -> None:
            outputs.append(await m.call(talkative, length))

        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                for length in (3, 300):
                    nursery.start_soon(call, length)
    assert sorted(outputs) == [3, 300]
    assert told(caplog) == ["ProgressRefused"]


@pytest.mark.parametrize(
    "report",
    [
        {"done": float("nan")},
        {"total": "many"},
        {"note": "a\0b"},
        {"note": 5},
        {"done": True},
        {"done": -1},
        {"total": -0.5},
        {"note": "n" * 1001},
    ],
    ids=lambda report: f"{report!r:.20}",
)
async def test_a_report_that_cannot_be_kept_is_refused_in_the_handler(
    report: dict[str, Any],
) -> None:
    @m25.queue("wrong")
    async def wrong(_: None) -> None:
        with pytest.raises(m25.ValueRefused, match=rf"^progress\.{next(iter(report))}: "):
            await m25.current_job().report(**report)

    assert (await m25.testing.run_job(wrong, None)).status is m25.JobStatus.SUCCEEDED


# Cursors


async def after(number: int | None) -> AsyncGenerator[int]:
    for each in range((number or 0) + 1, 11):
        yield each


async def test_the_next_attempt_goes_on_where_the_one_before_came_to(dsn: str) -> None:
    seen: list[int] = []

    @m25.queue("rows")
    async def goes_on(_: None) -> None:
        async for number in m25.current_job().cursor("rows", after, key=lambda number: number):
            if number == 5 and 5 not in seen:
                seen.append(5)
                raise ValueError
            seen.append(number)

    async with m25.open(dsn) as m:
        m.add_queue(goes_on)
        await m.start()
        with trio.fail_after(PATIENCE):
            await m.call(goes_on, m25.Job(None, max_attempts=2))
    # The item that failed was not behind the cursor.
    assert seen == [1, 2, 3, 4, 5, 5, 6, 7, 8, 9, 10]


async def test_a_key_can_be_of_any_type_of_an_input() -> None:
    @attrs.frozen
    class Page:
        at: datetime

    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    asked: list[datetime | None] = []

    async def pages(at: datetime | None) -> AsyncGenerator[Page]:
        asked.append(at)
        for hour in range(3):
            if at is None or noon + timedelta(hours=hour) > at:
                yield Page(noon + timedelta(hours=hour))

    @m25.queue("pages")
    async def goes_on(_: None) -> None:
        job = m25.current_job()
        async for page in job.cursor("p", pages, key=lambda page: page.at, key_type=datetime):
            if page.at.hour == 13 and job.attempt == 1:
                raise ValueError

    async with m25.testing.open() as m:
        m.add_queue(goes_on)
        await m.start()
        await m.call(goes_on, m25.Job(None, max_attempts=2))
    assert asked == [None, noon]


async def test_a_key_that_is_no_json_is_refused_with_its_cursors_name() -> None:
    @m25.queue("pages")
    async def pages(_: None) -> None:
        job = m25.current_job()
        with pytest.raises(m25.ValueRefused, match="the key of cursor 'p'"):
            async for _each in job.cursor("p", after, key=lambda _: object()):  # type: ignore[arg-type, misc]
                pass

    assert (await m25.testing.run_job(pages, None)).status is m25.JobStatus.SUCCEEDED


async def test_none_is_no_key_as_the_next_attempt_would_begin_anew() -> None:
    def no_key(_: int) -> Any:
        return None

    @m25.queue("pages")
    async def pages(_: None) -> None:
        job = m25.current_job()
        key_types: list[Any] = [None, int | None]
        for key_type in key_types:
            with pytest.raises(m25.ValueRefused, match=r"the key of cursor 'p': it is None"):
                async for _each in job.cursor("p", after, key=no_key, key_type=key_type):
                    pass

    job = await m25.testing.run_job(pages, None)
    assert job.status is m25.JobStatus.SUCCEEDED, job.crash_traceback


async def test_two_open_cursors_of_one_name_are_refused() -> None:
    @m25.queue("pages")
    async def pages(_: None) -> list[int]:
        job = m25.current_job()
        seen: list[int] = []
        async for number in job.cursor("p", after, key=lambda number: number):
            with pytest.raises(m25.errors.UsageError, match="cursor 'p' of this job is open"):
                await anext(job.cursor("p", after, key=lambda number: number))
            async for _each in job.cursor(f"of {number}", after, key=lambda number: number):
                break
            seen.append(number)
            if number == 3:
                break
        # The loops of those before have ended, by `break` and by their source.
        for _again in range(2):
            again = job.cursor("p", after, key=lambda number: number)
            seen.extend([number async for number in again])
        return seen

    job = await m25.testing.run_job(pages, None)
    assert job.output == [1, 2, 3, *range(3, 11)], job.crash_traceback


async def test_a_source_whose_loop_is_left_is_closed_with_the_handler() -> None:
    closed: list[bool] = []

    async def source(_: int | None) -> AsyncGenerator[int]:
        try:
            yield 1
            yield 2
        finally:
            closed.append(True)

    @m25.queue("left")
    async def left(_: None) -> None:
        async for _each in m25.current_job().cursor("c", source, key=lambda number: number):
            break

    await m25.testing.run_job(left, None)
    assert closed == [True]


async def test_without_reports_no_statement_is_made(
    autojump_clock: trio.testing.MockClock,
) -> None:
    store = MemoryStore()

    @m25.queue("silent", heartbeat_interval=1)
    async def silent(_: None) -> None:
        m25.current_job()
        await trio.sleep(30)

    async def report(*_: Any) -> Any:
        pytest.fail("nothing was reported")

    store.report = report  # type: ignore[method-assign]
    async with m25.testing.open(store) as m:
        m.add_queue(silent)
        await m.start()
        await m.call(silent, None)


async def test_progress_is_written_with_the_next_heartbeat(dsn: str) -> None:
    @m25.queue("beats", heartbeat_interval=0.1, allowed_heartbeat_misses=500)
    async def beats(_: None) -> None:
        await m25.current_job().report(done=1, total=2)
        await trio.sleep_forever()

    async with m25.open(dsn, shutdown_grace=0) as m:
        m.add_queue(beats)
        await m.start()
        record = await m.enqueue(beats, None)
        with trio.fail_after(PATIENCE):
            async for progress in m.progress(beats, record.id):
                assert progress == m25.Progress(1, 2)
                break

    async def is_there() -> object:
        return await rows(dsn, "select progress from m25.job where progress is not null")

    await eventually(is_there)


async def test_what_was_reported_last_is_not_lost_where_a_stop_comes_while_it_is_written(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def slow(call: str, _: Literal["before", "after"]) -> None:
        if call == "report":
            await trio.sleep(0.5)

    @m25.queue("stopping")
    async def stopping(_: None) -> None:
        job = m25.current_job()
        await job.report(done=7)
        await job.m.stop()

    async with m25.testing.open(m25.testing.MemoryStore(fault=slow)) as m:
        m.add_queue(stopping)
        record = await m.enqueue(stopping, None)
        await m.start()
        await m.wait(stopping, record.id)
        assert [each.done async for each in m.progress(stopping, record.id)] == [7]
