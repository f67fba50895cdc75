"""A rolling deploy: programs of before a change of types run beside those of after it."""

from __future__ import annotations

import enum
import random
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Literal

import attrs
import pytest
import trio
import trio.testing

import m25
import m25.testing
from m25 import FailureReason, JobStatus
from support.told import lines, told


@attrs.frozen
class Old:
    to: str


@attrs.frozen
class New:
    to: str
    cc: str | None = None


def emails(kind: Any, runs: list[Any] | None = None, **options: Any) -> m25.Queue[Any, Any, Any]:
    """The queue as the programs of one version have it."""

    async def send(value: Any, _: Any = None) -> None:
        if runs is not None:
            runs.append(value)

    send.__annotations__["value"] = kind
    return m25.Queue("emails", handler_function=send, **options)


async def test_an_old_worker_leaves_what_is_newer_to_a_new_one_and_does_what_it_knows(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    calls, rng = Counter[str](), random.Random(25)

    async def count(call: str, when: Literal["before", "after"]) -> None:
        calls[call] += when == "before"
        # Without it, the worker whose clock is a nanosecond ahead would always be first.
        await trio.sleep(rng.uniform(0, 0.01))

    store, by_old, by_new = m25.testing.MemoryStore(fault=count), list[Any](), list[Any]()
    old, new = emails(Old, by_old), emails(New, by_new)
    async with m25.testing.open(store) as producer, m25.testing.open(store) as first:
        first.add_queue(old)
        await first.start()
        newer = [await producer.enqueue(new, New(f"new {n}", "bob")) for n in range(30)]
        known = [await producer.enqueue(old, Old(f"old {n}")) for n in range(30)]
        # They come after all those that it does not know, and do not wait for them.
        with trio.fail_after(10):
            for each in known:
                await producer.result(old, each.id)
        await trio.sleep(190)
        looks = 190 / 5 + 2
        # A claim is for ten jobs, and they may be released one by one.
        assert calls["claim"] <= 20 * looks
        assert calls["release"] <= 20 * looks
        async with m25.testing.open(store) as second:
            second.add_queue(new)
            await second.start()
            # Which of the two workers is first each time is chance.
            with trio.fail_after(120):
                for each in newer:
                    await producer.result(new, each.id)
    assert {each.to for each in by_new} == {f"new {n}" for n in range(30)}
    assert {each.to for each in by_old} == {f"old {n}" for n in range(30)}
    assert len(by_new) == len(by_old) == 30
    assert {(row.status, row.attempt) for row in store.rows()} == {("succeeded", 1)}
    assert set(told(caplog)) == {"InputNewer"}
    said = lines(caplog, "InputNewer")
    # The fourth is due when the time is up.
    assert 3 <= len(said) <= 6
    assert 'input["cc"] is no part of Old: job' in said[0].getMessage()
    # In a minute each job was looked at every five seconds.
    assert said[1].m25_releases == pytest.approx(30 * 12, rel=0.2)


async def test_however_many_jobs_are_newer_a_hundred_are_looked_at_in_five_seconds(
    autojump_clock: trio.testing.MockClock,
) -> None:
    looks, most_run, all_run, rng = [0], trio.Event(), trio.Event(), random.Random(25)

    class Runs(list[Any]):
        def append(self, value: Any) -> None:
            super().append(value)
            if len(self) == 1400:
                most_run.set()
            if len(self) == 1500:
                all_run.set()

    async def take_time(call: str, when: Literal["before", "after"]) -> None:
        await trio.sleep(rng.uniform(0, 0.01))

    class Store(m25.testing.MemoryStore):
        async def release(self, releases: Any, notify: Any) -> Any:
            looks[-1] += len(releases)
            return await super().release(releases, notify)

    store = Store(fault=take_time)
    old, new = emails(Old, max_concurrency=50), emails(New, Runs(), max_concurrency=50)
    async with m25.testing.open(store) as first, m25.testing.open(store) as second:
        first.add_queue(old)
        await first.start()
        await first.enqueue_many(new, [New(f"{n}", "bob") for n in range(1500)])
        # Each has to be looked at once.
        await trio.sleep(60)
        assert looks[-1] < 1500 + 60 / 5 * 100 + 100
        for _ in range(3):
            looks.append(0)
            await trio.sleep(10)
        assert max(looks[1:]) <= 300
        assert min(looks[1:]) >= 100
        second.add_queue(new)
        await second.start()
        began, known = trio.current_time(), await second.enqueue(old, Old("known to all"))
        with trio.fail_after(5):
            await second.result(old, known.id)
        # What it knows it has soon, though there is still an old worker that takes half of them.
        looks.append(0)
        await most_run.wait()
        # A hundred in five seconds would have taken 70 s. The last ones may take as long: it is by
        # chance which of the two workers looks at each of them first, every five seconds.
        assert trio.current_time() - began < 60
        await all_run.wait()
        assert looks[-1] < 10 * 1500


class Size(enum.Enum):
    SMALL = "s"


class NewSize(enum.Enum):
    SMALL = "s"
    LARGE = "l"


@attrs.frozen
class Text:
    body: str


@attrs.frozen
class Picture:
    png: str


@attrs.frozen
class Video:
    mp4: str


@pytest.mark.parametrize(
    ("before", "after", "value"),
    [
        (Old, New, New("ada")),
        (list[Old], list[New], [New("ada")]),
        (dict[str, Size], dict[str, NewSize], {"parcel": NewSize.LARGE}),
        (dict[Size, int], dict[NewSize, int], {NewSize.LARGE: 1}),
        (Literal["a", "b"], Literal["a", "b", "c"], "c"),
        (Text | Picture, Text | Picture | Video, Video("…")),
        (Text, Text | Picture, Picture("…")),
    ],
)
async def test_what_only_newer_programs_know_is_left_to_them(
    before: Any, after: Any, value: Any, autojump_clock: trio.testing.MockClock
) -> None:
    store, runs = m25.testing.MemoryStore(), list[Any]()
    async with m25.testing.open(store) as first:
        first.add_queue(emails(before))
        await first.start()
        id = (await first.enqueue(emails(after), value)).id
        await trio.sleep(60)
        assert (await first.get_job(emails(after), id)).status is JobStatus.PENDING
    async with m25.testing.open(store) as second:
        second.add_queue(queue := emails(after, runs))
        await second.start()
        await second.result(queue, id)
    assert runs == [value]


@pytest.mark.parametrize(
    ("kind", "plain"),
    [(Old, {"to": 1}), (Old, {}), (Old, []), (Size, 1), (Text | Picture, {"_type": 1})],
)
async def test_what_no_version_is_likely_to_know_fails_at_once(
    kind: Any, plain: Any, autojump_clock: trio.testing.MockClock
) -> None:
    async with m25.testing.open() as m:
        m.add_queue(emails(kind))
        await m.start()
        with pytest.raises(m25.JobFailed):
            await m.call(emails(Any), plain)
        (failed,) = m25.testing.jobs(m, emails(Any))
    assert failed.crash_type == "m25.errors.JobRecordFetchJsonDecodeError"


async def test_after_a_quarter_of_an_hour_the_attempt_fails_and_says_why(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    store = m25.testing.MemoryStore()
    async with m25.testing.open(store) as m:
        m.add_queue(emails(Old))
        # It was due an hour before a worker came to it.
        id = (await m.enqueue(emails(New), m25.Job(New("ada"), max_attempts=2))).id
        store.move_clock(timedelta(hours=1))
        await m.start()
        await trio.sleep(10)
        # All of it is within a minute of the worker's, in which one line is told.
        store.move_clock(timedelta(minutes=14, seconds=15))
        await trio.sleep(20)
        assert [row.status for row in store.rows()] == ["pending"]
        await trio.sleep(25)
        # The next attempt waits for newer workers anew.
        assert [row.status for row in store.rows()] == ["failed", "pending"]
        record = store.rows()[0]
    assert record.failure_reason == FailureReason.CRASH.value
    assert record.crash_message is not None
    assert (
        'input["cc"]: is no part of Old, and in 15 minutes no newer worker' in record.crash_message
    )
    assert told(caplog, id) == ["InputNewer", "InputUndecodable"]


async def test_who_has_been_run_by_a_newer_worker_waits_for_one_anew(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def send(value: New) -> None:
        raise m25.Snooze(60)

    new = m25.Queue("emails", handler_function=send)
    store = m25.testing.MemoryStore()
    async with m25.testing.open(store) as m:
        await m.enqueue(new, New("ada"))
    for queue in (emails(Old), new, emails(Old)):
        async with m25.testing.open(store) as m:
            m.add_queue(queue)
            await m.start()
            await trio.sleep(10)
            store.move_clock(timedelta(minutes=10))
    assert [row.status for row in store.rows()] == ["pending"]


async def test_what_is_not_known_can_be_refused_or_left_out(
    autojump_clock: trio.testing.MockClock,
) -> None:
    runs = list[Any]()
    async with m25.testing.open() as m:
        m.add_queue(emails(Old, runs, unknown_fields="ignore"))
        await m.start()
        await m.call(emails(New), New("ada", "bob"))
    assert runs == [Old("ada")]
    async with m25.testing.open() as m:
        m.add_queue(emails(Old, runs, unknown_fields="refuse"))
        await m.start()
        with pytest.raises(m25.JobFailed):
            await m.call(emails(New), New("ada", "bob"))
    assert runs == [Old("ada")]
    with pytest.raises(m25.errors.InvalidQueue, match="'release', 'refuse', 'ignore', not 'drop'"):
        emails(Old, unknown_fields="drop")


@pytest.mark.parametrize("options", [{"limit": m25.Limit(1)}, {"allowed_losses": 0}, {"setup": 1}])
async def test_on_queues_of_every_kind(
    options: dict[str, Any], autojump_clock: trio.testing.MockClock
) -> None:
    if "setup" in options:

        @asynccontextmanager
        async def setup() -> AsyncGenerator[None]:
            yield

        options = {"setup": setup}
    store, runs = m25.testing.MemoryStore(), list[Any]()
    old, new = emails(Old, **options), emails(New, runs, **options)
    async with m25.testing.open(store) as m:
        m.add_queue(old)
        await m.start()
        for name in "abc":
            await m.enqueue(new, New(name))
        with trio.fail_after(30):
            await m.call(old, Old("ada"))
    async with m25.testing.open(store) as m:
        m.add_queue(new)
        await m.start()
        await m25.testing.drain(m, scheduled=True)
    assert sorted(each.to for each in runs) == ["a", "b", "c"]
