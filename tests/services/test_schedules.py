"""Schedules: their ticks and jobs, over outages, pauses, overlaps and several processes."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal

import attrs
import pytest
import trio
import trio.testing

import m25
import m25.testing
from m25._schedule import make_schedule
from m25.testing import MemoryStore
from support.told import lines

pytestmark = pytest.mark.usefixtures("all_lines")

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
BEGIN = datetime(2026, 1, 1, 12, tzinfo=UTC)


@attrs.frozen
class Report:
    day: date


@pytest.fixture
def all_lines(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="m25")


@m25.queue("reports")
async def reports(report: Report) -> None:
    await trio.lowlevel.checkpoint()


@m25.queue("numbers", cancel_grace=1)
async def numbers(number: int) -> None:
    await trio.lowlevel.checkpoint()


def report(tick: datetime) -> Report:
    return Report(tick.date())


async def slow_report(tick: datetime) -> Report:
    return Report(tick.date())


async def test_a_year_of_a_nightly_schedule_takes_a_second() -> None:
    began = time.process_time()
    async with m25.testing.open(MemoryStore(epoch=BEGIN)) as m:
        m.add_queue(reports)
        m.add_schedule("nightly", reports, "30 2 * * *", timezone="Europe/Berlin", input=report)
        await m.start()
        await m25.testing.advance(m, 365 * DAY)
        jobs = m25.testing.jobs(m, reports)
    assert [job.input.day for job in jobs] == [date(2026, 1, 2) + n * DAY for n in range(365)]
    assert {job.status for job in jobs} == {m25.JobStatus.SUCCEEDED}
    # In spring 2:30 is no time, and 3:00 is 1:00 in UTC; in autumn it comes twice.
    assert jobs[86].scheduled_at == datetime(2026, 3, 29, 1, 0, tzinfo=UTC)
    assert jobs[296].scheduled_at == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    assert time.process_time() - began < 15


@pytest.mark.parametrize("pauses", range(5))
async def test_what_a_tick_brought_that_was_missed_is_done_when_no_time_has_passed(
    pauses: int,
) -> None:
    store = MemoryStore(epoch=BEGIN)

    @m25.queue("slow reports")
    async def slow_reports(number: int) -> int:
        for _ in range(20):
            await trio.lowlevel.checkpoint()
        return number

    for _ in range(2):
        async with m25.testing.open(store) as m:
            m.add_queue(slow_reports)
            m.add_schedule("nightly", slow_reports, "30 2 * * *", input=7)
            await m.start()
            # The client's own task looks for ticks as well, sooner or later than `advance`.
            for _ in range(pauses):
                await trio.lowlevel.checkpoint()
            await m25.testing.advance(m, timedelta(0))
            outputs = [job.output for job in m25.testing.jobs(m, slow_reports)]
        store.move_clock(2 * DAY)
    assert outputs == [7]


async def test_a_schedule_is_listed_with_its_next_tick_unless_it_is_paused() -> None:
    store = MemoryStore(epoch=datetime(2026, 10, 24, 12, tzinfo=UTC))
    async with m25.testing.open(store) as m:
        m.add_queue(numbers)
        m.add_schedule("nightly", numbers, "30 2 * * *", timezone="Europe/Berlin", input=1)
        m.add_schedule("often", numbers, every=HOUR, input=1)
        await m.start()
        await m25.testing.advance(m, timedelta(0))
        nightly, often = await m.schedules()
        # 2:30 comes twice in this night; the first is the one.
        assert nightly.next_tick == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
        assert often.next_tick == datetime(2026, 10, 24, 13, tzinfo=UTC)
        await m25.testing.advance(m, DAY)
        await m.pause_schedule("often")
        nightly, often = await m.schedules()
        assert nightly.next_tick == datetime(2026, 10, 26, 1, 30, tzinfo=UTC)
        assert often.next_tick is None
        assert not nightly.is_left(store.now())
        assert nightly.is_left(store.now() + HOUR)


async def test_a_tick_that_waits_for_a_job_of_days_takes_no_time() -> None:
    @m25.queue("reminders")
    async def reminders(day: int) -> None:
        await m25.current_job().sleep(days=40)

    async with m25.testing.open(MemoryStore(epoch=BEGIN)) as m:
        m.add_queue(reminders)
        m.add_schedule("s", reminders, every=DAY, input=lambda t: t.day, overlap="queue")
        await m.start()
        await m25.testing.advance(m, 100 * DAY)
        jobs = m25.testing.jobs(m, reminders)
    # One of the 2nd of January, and each other one when the one before has slept for 40 days.
    assert [job.input for job in jobs] == [2, 11, 23]


async def test_a_drain_lets_jobs_run_and_no_ticks_for_ever() -> None:
    async with m25.testing.open(MemoryStore(epoch=BEGIN)) as m:
        m.add_queue(numbers)
        m.add_schedule("hourly", numbers, every=HOUR, input=1)
        await m.start()
        await m.enqueue(numbers, m25.Job(2, scheduled_at=BEGIN + DAY))
        await m25.testing.drain(m, scheduled=True)
        assert m25.testing.jobs(m, numbers)[0].input == 2


async def run_for(
    store: MemoryStore, by: timedelta, schedule: Callable[[m25.M25], None]
) -> list[datetime | None]:
    """The ticks that have jobs once a process with this schedule has run for some time."""
    async with m25.testing.open(store) as m:
        m.add_queue(numbers)
        schedule(m)
        await m.start()
        await m25.testing.advance(m, by)
        return [job.scheduled_at for job in m25.testing.jobs(m, numbers)]


@pytest.mark.parametrize(
    ("catch_up", "expected"), [("last", [4]), ("all", [1, 2, 3, 4]), ("none", [])]
)
async def test_what_was_missed_runs_as_catch_up_says(
    catch_up: Literal["last", "all", "none"], expected: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    store = MemoryStore(epoch=BEGIN)

    def schedule(m: m25.M25) -> None:
        m.add_schedule("hourly", numbers, "0 * * * *", input=1, catch_up=catch_up)

    assert await run_for(store, timedelta(0), schedule) == []
    store.move_clock(4 * HOUR + timedelta(minutes=30))
    assert await run_for(store, timedelta(0), schedule) == [BEGIN + n * HOUR for n in expected]
    assert await run_for(store, HOUR, schedule) == [BEGIN + n * HOUR for n in [*expected, 5]]
    passed_over = lines(caplog, "TicksPassedOver")
    assert bool(passed_over) is (catch_up != "all")
    if passed_over:
        assert passed_over[0].m25_first == (BEGIN + HOUR).isoformat()


async def test_a_tick_that_is_a_little_late_is_not_missed() -> None:
    store = MemoryStore(epoch=BEGIN)

    def schedule(m: m25.M25) -> None:
        m.add_schedule("hourly", numbers, "0 * * * *", input=1, catch_up="none")

    await run_for(store, timedelta(0), schedule)
    store.move_clock(HOUR + timedelta(seconds=50))
    assert await run_for(store, timedelta(0), schedule) == [BEGIN + HOUR]


def test_the_last_of_many_missed_ticks_is_found_at_once() -> None:
    schedule = made("* * * * *")
    began = time.process_time()
    due = schedule.due(BEGIN, BEGIN + 3650 * DAY)
    assert due is not None
    assert due.ticks == (BEGIN + 3650 * DAY,)
    assert due.missed_from == BEGIN + timedelta(minutes=1)
    assert time.process_time() - began < 5
    due = made("0 0 1 1 *").due(BEGIN, BEGIN + 400 * DAY)
    assert due is not None
    assert due.ticks == (datetime(2027, 1, 1, tzinfo=UTC),)


async def test_many_processes_give_each_tick_one_job() -> None:
    store = MemoryStore(epoch=BEGIN)
    async with trio.open_nursery() as nursery:
        for _ in range(4):

            async def process() -> None:
                def schedule(m: m25.M25) -> None:
                    m.add_schedule("s", numbers, every=1, input=1, catch_up="all")

                await run_for(store, timedelta(seconds=20), schedule)

            nursery.start_soon(process)
    ticks = [row.scheduled_at for row in store.rows()]
    assert len(ticks) == len(set(ticks)) >= 20
    times = sorted(float(tick or 0) for tick in ticks)
    assert times == [times[0] + n for n in range(len(times))]


@pytest.mark.parametrize("overlap", ["allow", "skip", "queue", "cancel"])
async def test_a_tick_that_meets_the_job_before_does_as_overlap_says(
    overlap: Literal["allow", "skip", "queue", "cancel"],
    autojump_clock: trio.testing.MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    running: set[int] = set()
    most = 0
    log: list[tuple[int, str]] = []

    @m25.queue("slow", max_concurrency=5, cancel_grace=60)
    async def slow(minute: int) -> None:
        nonlocal most
        running.add(minute)
        most = max(most, len(running))
        try:
            await trio.sleep(150)
            log.append((minute, "done"))
        except trio.Cancelled:
            log.append((minute, "cancelled"))
            raise
        finally:
            running.discard(minute)

    async with m25.testing.open(MemoryStore(epoch=BEGIN)) as m:
        m.add_queue(slow)
        m.add_schedule(
            "s", slow, "* * * * *", input=lambda t: t.minute, overlap=overlap, catch_up="all"
        )
        await m.start()
        await trio.sleep(9 * 60 + 30)
        ended, reports = list(log), lines(caplog, "TicksPassedOver")
    match overlap:
        case "allow":
            assert (ended[:3], most) == ([(1, "done"), (2, "done"), (3, "done")], 3)
        case "skip":
            assert (ended[:2], most) == ([(1, "done"), (4, "done")], 1)
            assert {event.m25_reason for event in reports} == {"the job before is live"}
        case "queue":
            assert (ended, most) == ([(1, "done"), (2, "done"), (3, "done")], 1)
        case "cancel":
            assert (ended, most) == ([(n, "cancelled") for n in range(1, 9)], 1)


@pytest.mark.parametrize("overlap", ["skip", "queue"])
async def test_a_tick_that_waits_long_for_the_job_before_is_told_once(
    overlap: Literal["skip", "queue"], caplog: pytest.LogCaptureFixture
) -> None:
    async with m25.testing.open(MemoryStore(epoch=BEGIN)) as m:
        m.add_queue(numbers)
        m.add_schedule("s", numbers, "*/15 * * * *", input=1, overlap=overlap)
        await m.start()
        # So the job of a quarter past does not end, and the tick of half past waits for it.
        await m.pause(numbers)
        await m25.testing.advance(m, timedelta(minutes=39))
        early = lines(caplog, "TickWaits")
        await m25.testing.advance(m, timedelta(minutes=3))
        told = [(event.m25_tick, event.m25_job_id) for event in lines(caplog, "TickWaits")]
        (job,) = m25.testing.jobs(m, numbers)
    assert early == []
    expected = [("2026-01-01T12:30:00+00:00", str(job.id))]
    assert told == ([] if overlap == "skip" else expected)


async def test_an_input_that_cannot_be_made_is_told_and_stops_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def odd(tick: datetime) -> int:
        if tick.hour % 2:
            raise LookupError("no such hour")
        return tick.hour

    def keyed(tick: datetime) -> m25.Job[int]:
        return m25.Job(tick.hour, unique_key="k")

    async with m25.testing.open(MemoryStore(epoch=BEGIN)) as m:
        m.add_queue(numbers)
        m.add_schedule("bad", numbers, "0 * * * *", input=lambda _: object())  # type: ignore[arg-type,return-value]
        m.add_schedule("keyed", numbers, "0 * * * *", input=keyed)
        m.add_schedule("odd", numbers, "0 * * * *", input=odd)
        m.add_schedule("well", numbers, "5 * * * *", input=m25.Job(7, priority=3))
        await m.start()
        await m25.testing.advance(m, 2 * HOUR)
        jobs = m25.testing.jobs(m, numbers)
    assert [(job.input, job.priority) for job in jobs] == [(7, 3), (7, 3), (14, 0)]
    failed = [(event.m25_schedule, event.m25_error_type) for event in lines(caplog, "TickFailed")]
    assert sorted(failed) == [
        *[("bad", "m25.errors.ValueRefused")] * 2,
        *[("keyed", "m25.errors.InvalidSchedule")] * 2,
        ("odd", "LookupError"),
    ]


async def test_a_pause_stays_and_is_listed() -> None:
    store = MemoryStore(epoch=BEGIN)

    def schedule(m: m25.M25) -> None:
        m.add_schedule("hourly", numbers, "0 * * * *", input=1, catch_up="all")

    assert len(await run_for(store, HOUR, schedule)) == 1
    async with m25.testing.open(store) as m:
        await m.pause_schedule("hourly")
        (listed,) = await m.schedules()
        assert (listed.name, listed.queue_name, listed.expression) == (
            "hourly", "numbers", "0 * * * *",
        )  # fmt: skip
        assert listed.paused_at is not None
        assert listed.last_tick == BEGIN + HOUR
        with pytest.raises(m25.errors.NoScheduleFound, match="no schedule 'x'"):
            await m.resume_schedule("x")
    assert len(await run_for(store, 3 * HOUR, schedule)) == 1
    async with m25.testing.open(store) as m:
        await m.resume_schedule("hourly")
    assert await run_for(store, HOUR, schedule) == [BEGIN + HOUR, BEGIN + 5 * HOUR]


async def test_who_declared_it_otherwise_leaves_it_alone(caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryStore(epoch=BEGIN)
    async with m25.testing.open(store) as old, m25.testing.open(store) as new:
        old.add_queue(numbers)
        old.add_schedule("s", numbers, "0 * * * *", input=1)
        old.add_schedule("t", numbers, every=DAY, input=1)
        await old.start()
        new.add_schedule("s", numbers, "30 * * * *", input=2)
        await new.start()
        # That a row is gone is no reason to declare others anew.
        del store._schedules._schedules["t"]
        for _ in range(8):
            store.move_clock(timedelta(minutes=10))
            await m25.testing.advance(old, timedelta(0))
            await m25.testing.advance(new, timedelta(0))
        jobs = m25.testing.jobs(old, numbers)
        assert [job.input for job in jobs] == [2]
    assert len(lines(caplog, "ScheduleChanged")) == len(lines(caplog, "ScheduleReplaced")) == 1


async def test_who_is_left_takes_a_schedule_over_from_those_who_are_gone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = MemoryStore(epoch=BEGIN)

    def old(m: m25.M25) -> None:
        m.add_schedule("s", numbers, "0 * * * *", input=1)

    async with m25.testing.open(store) as new:
        new.add_queue(numbers)
        new.add_schedule("s", numbers, "30 * * * *", input=2)
        await new.start()
        # A process of an older version starts once more, and ends for good.
        await run_for(store, timedelta(0), old)
        await m25.testing.advance(new, timedelta(minutes=40))
        assert m25.testing.jobs(new, numbers) == []
        (schedule,) = await new.schedules()
        assert schedule.expression == "30 * * * *"
        await m25.testing.advance(new, HOUR)
        assert [job.input for job in m25.testing.jobs(new, numbers)] == [2]
    assert len(lines(caplog, "ScheduleChanged")) == 2


async def test_a_schedule_that_was_deleted_begins_anew() -> None:
    store = MemoryStore(epoch=BEGIN)
    async with m25.testing.open(store) as m:
        m.add_queue(numbers)
        m.add_schedule("s", numbers, "0 * * * *", input=1)
        await m.start()
        store._schedules._schedules.clear()
        await m25.testing.advance(m, HOUR)
        assert len(m25.testing.jobs(m, numbers)) == 1


def made(expression: str | None = "0 * * * *", **changes: Any) -> Any:
    options: dict[str, Any] = {
        "name": "s", "every": None, "timezone": "UTC", "input": 1, "catch_up": "last",
        "overlap": "allow", "jitter": 0,
    }  # fmt: skip
    options.update(changes)
    return make_schedule(options.pop("name"), numbers, expression, **options)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": ""}, "name must not be empty"),
        ({"name": "x" * 201}, "at most 200"),
        ({"expression": "61 * * * *"}, "minute"),
        ({"expression": None}, "either a cron expression or every="),
        ({"every": 5}, "not both"),
        ({"expression": None, "every": 0.5}, "a second or more"),
        ({"timezone": "Mars/Base"}, "zone"),
        ({"catch_up": "some"}, "catch_up must be one of 'last', 'all', 'none'"),
        ({"overlap": "wait"}, "overlap must be one of"),
        ({"jitter": -1}, "jitter"),
        ({"input": slow_report}, "must not be async"),
        ({"input": m25.Job(1, unique_key="k")}, "unique_key="),
        ({"input": m25.Job(1, scheduled_at=BEGIN)}, "scheduled_at="),
        ({"input": m25.Job(1, unique=m25.Unique("k"))}, "has unique=.* see overlap="),
    ],
)
def test_what_is_no_schedule_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(m25.errors.InvalidSchedule, match=said):
        made(**changes)


async def test_jobs_are_spread_after_their_ticks_alike_in_every_process() -> None:
    def schedule(m: m25.M25) -> None:
        m.add_schedule("s", numbers, "0 * * * *", input=1, jitter=timedelta(minutes=20))

    due = await run_for(MemoryStore(epoch=BEGIN), 2 * DAY, schedule)
    late = [at - (BEGIN + n * HOUR) for n, at in enumerate(due, 1) if at is not None]
    assert len(late) == 48
    assert len(set(late)) == 48
    assert timedelta(0) <= min(late) < timedelta(minutes=2)
    assert timedelta(minutes=18) < max(late) <= timedelta(minutes=20)
    assert await run_for(MemoryStore(epoch=BEGIN), 2 * DAY, schedule) == due


async def test_a_schedule_is_run_now_apart_from_its_ticks() -> None:
    store = MemoryStore(epoch=BEGIN)
    async with m25.testing.open(store) as m:
        m.add_queue(reports)
        m.add_schedule("nightly", reports, "30 2 * * *", input=report)
        await m.start()
        await m.pause_schedule("nightly")
        record = await m.run_schedule("nightly")
        assert (record.input, record.scheduled_at) == (Report(BEGIN.date()), None)
        await m25.testing.drain(m)
        assert len(m25.testing.jobs(m, reports)) == 1
        (schedule,) = await m.schedules()
        assert schedule.last_job_id is None
        with pytest.raises(m25.errors.NoScheduleFound, match="has not added it"):
            await m.run_schedule("hourly")


async def test_schedules_are_added_once_and_before_the_start() -> None:
    async with m25.testing.open() as m:
        with pytest.raises(m25.ValueRefused):
            m.add_schedule("s", numbers, every=1, input="one")  # type: ignore[arg-type]
        m.add_schedule("s", numbers, every=1, input=1)
        with pytest.raises(m25.errors.DuplicateSchedule):
            m.add_schedule("s", numbers, every=2, input=1)
        await m.start()
        with pytest.raises(m25.errors.AlreadyStarted):
            m.add_schedule("t", numbers, every=1, input=1)
