"""The network fails between m25 and a server that is well: answers are lost, late, or one-way."""

from __future__ import annotations

import logging
from collections import Counter
from uuid import uuid4

import pytest
import trio

import m25
from support.proxy import Direction, Proxy, proxied
from support.told import said
from support.waiting import PATIENCE, ended, eventually, rows


@m25.queue("unserved")
async def unserved(text: str) -> None:
    raise AssertionError("nobody serves it")


async def inputs(dsn: str) -> list[str]:
    return [row["input"] for row in await rows(dsn, "select input from m25.job order by input")]


async def test_an_enqueue_whose_answer_is_lost_can_be_repeated_with_its_id(dsn: str) -> None:
    async with proxied(dsn) as proxy, m25.open(proxy.dsn) as m:
        job = m25.Job("once and no more", id=m25.JobId(uuid4()))
        dropped = proxy.drop_answer(b"once and no more")
        with pytest.raises(m25.errors.JobRecordFetchQueryError):
            await m.enqueue(unserved, job)
        assert dropped.is_set()
        assert await inputs(dsn) == ["once and no more"]
        record = await m.enqueue(unserved, job)
        assert record.id == job.id
    assert await inputs(dsn) == ["once and no more"]


async def test_many_whose_commit_is_not_answered_can_be_repeated_with_their_ids(dsn: str) -> None:
    jobs = [m25.Job(f"{number:04}", id=m25.JobId(uuid4())) for number in range(1_200)]
    async with proxied(dsn) as proxy, m25.open(proxy.dsn) as m:
        dropped = proxy.drop_answer(b"COMMIT")
        with pytest.raises(m25.errors.JobRecordFetchQueryError):
            await m.enqueue_many(unserved, jobs)
        assert dropped.is_set()
        assert len(await inputs(dsn)) == 1_200
        await m.enqueue_many(unserved, jobs)
    assert await inputs(dsn) == [f"{number:04}" for number in range(1_200)]


async def test_a_link_that_dies_before_the_commit_leaves_nothing(dsn: str) -> None:
    async with proxied(dsn) as proxy, m25.open(proxy.dsn) as m:
        dropped = proxy.drop_answer(b"the last")
        with pytest.raises(m25.errors.JobRecordFetchQueryError):
            await m.enqueue_many(unserved, [*map(str, range(1_200)), "the last"])
        assert dropped.is_set()
    assert await inputs(dsn) == []


@pytest.mark.parametrize(
    "marker",
    [
        # In the statements' own words: the first of each on a connection carries its text.
        pytest.param(b"latest_heartbeat_at", marks=pytest.mark.slow),
        b"for no key update of job skip locked",
        b"what it returned",
        pytest.param(b"what it raised", marks=pytest.mark.slow),
        pytest.param(b"pg_notify", marks=pytest.mark.slow),
    ],
)
async def test_an_answer_that_is_lost_runs_no_job_twice_and_loses_no_result(
    dsn: str, marker: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "m25")
    runs: Counter[str] = Counter()

    class Mishap(Exception):
        pass

    @m25.queue(
        "frail",
        errors=(Mishap,),
        poll_interval=0.2,
        heartbeat_interval=0.3,
        allowed_heartbeat_misses=9,
    )
    async def frail(text: str) -> str:
        attempt = m25.current_job().attempt
        runs[f"{text} {attempt}"] += 1
        await trio.sleep(0.5)
        if attempt == 1 and text == "1":
            raise Mishap("what it raised")
        return f"what it returned for {text}"

    async with proxied(dsn) as proxy, m25.open(proxy.dsn) as m:
        dropped = proxy.drop_answer(marker)
        m.add_queue(frail)
        await m.start()
        async with m25.open(dsn) as web:
            for number in range(5):
                await web.enqueue(frail, m25.Job(str(number), max_attempts=2))

        async def all_ended() -> bool:
            found = await rows(dsn, "select count(*) from m25.job where status = 'succeeded'")
            return bool(found[0]["count"] == 5)

        await eventually(all_ended)
        with trio.fail_after(PATIENCE):
            # The listener's own word to itself may come after all of them.
            await dropped.wait()
    assert runs == Counter(["0 1", "1 1", "1 2", "2 1", "3 1", "4 1"])
    found = await rows(dsn, "select input, output from m25.job where output is not null")
    assert {row["input"]: row["output"] for row in found} == {
        str(number): f"what it returned for {number}" for number in range(5)
    }
    assert not [each for each in caplog.messages if "late result" in each]


@pytest.mark.parametrize("directions", [("up",), ("down",), ("up", "down")])
async def test_a_link_that_is_silent_past_the_lease_costs_that_process_its_jobs_and_no_more(
    dsn: str, directions: tuple[Direction, ...]
) -> None:
    begun, released = trio.Event(), trio.Event()
    numbers: set[int] = set()

    def make_queue(name: str) -> m25.Queue[int, str, Exception]:
        @m25.queue(
            "shared",
            poll_interval=0.2,
            heartbeat_interval=0.3,
            allowed_heartbeat_misses=1,
            max_concurrency=5,
        )
        async def shared(number: int) -> str:
            if name == "cut off" and number < 5:
                numbers.add(number)
                if len(numbers) == 5:
                    begun.set()
                await released.wait()
            return name

        return shared

    here, there = make_queue("cut off"), make_queue("reached")
    async with proxied(dsn) as proxy, m25.open(proxy.dsn) as m, m25.open(dsn) as other:
        m.add_queue(here)
        await m.start()
        records = [await other.enqueue(here, number) for number in range(5)]
        await begun.wait()
        proxy.hold(*directions)
        other.add_queue(there)
        await other.start()
        for record in records:
            found = await ended(other, there, record.id)
            assert found.failure_reason is m25.FailureReason.HEARTBEAT_TIMEOUT

        async def all_done() -> bool:
            done = await rows(dsn, "select output from m25.job where status = 'succeeded'")
            return [row["output"] for row in done] == ["reached"] * 5

        await eventually(all_done)
        before = await rows(dsn, "select * from m25.job order by id")
        await other.stop()
        released.set()
        proxy.release()
        # What it has to say comes too late; and it is of use again.
        record = await m.enqueue(here, 5)
        assert (await ended(m, here, record.id)).output == "cut off"
        others = "select * from m25.job where input <> '5' order by id"
        assert await rows(dsn, others) == before


@pytest.mark.parametrize(
    ("delay", "rate"), [pytest.param(0.03, None, marks=pytest.mark.slow), (0.0, 200_000)]
)
async def test_a_slow_link_delays_and_does_no_more(
    dsn: str, delay: float, rate: float | None, caplog: pytest.LogCaptureFixture
) -> None:
    @m25.queue(
        "far",
        poll_interval=0.5,
        heartbeat_interval=0.3,
        allowed_heartbeat_misses=20,
        max_concurrency=50,
    )
    async def far(text: str) -> int:
        await trio.sleep(0.4)
        return len(text)

    async with proxied(dsn) as proxy:
        await slow(proxy, delay, rate)
        async with m25.open(proxy.dsn) as m:
            m.add_queue(far)
            await m.start()
            await m.enqueue_many(far, ["x" * 1_000] * 100)

            async def all_done() -> bool:
                done = await rows(dsn, "select output from m25.job where status = 'succeeded'")
                return [row["output"] for row in done] == [1_000] * 100

            await eventually(all_done)
    (row,) = await rows(dsn, "select count(*), max(attempt) from m25.job")
    assert (row["count"], row["max"]) == (100, 1)
    assert said(caplog) == []


async def slow(proxy: Proxy, delay: float, rate: float | None) -> None:
    proxy.delay, proxy.rate = delay, rate
    await trio.lowlevel.checkpoint()
