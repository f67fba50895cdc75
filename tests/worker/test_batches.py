"""Handlers that are called with several jobs at once, of which each has its own outcome."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
import trio.testing

import m25
import m25.testing
from m25._store.protocol import Release
from m25.errors import InvalidQueue, NotInJob


class Bounced(Exception):
    pass


@attrs.define
class World:
    """A queue of batches of three, and what its handler is called with."""

    #: What the handler does: it is given the inputs.
    handle: Callable[[list[int]], Any]
    calls: list[list[int]] = attrs.field(factory=list)
    running: int = 0
    most_running: int = 0
    m: m25.M25 = attrs.field(init=False)
    queue: m25.Queue[int, int, Bounced] = attrs.field(init=False)

    @asynccontextmanager
    async def open(
        self, jobs: Sequence[int | m25.Job[int]], *, wait: float = 0, **options: Any
    ) -> AsyncGenerator[m25.M25]:
        """Run the queue on these jobs, which are there when it starts."""

        @m25.queue("q", batch=m25.Batch(3, wait=wait), errors=(Bounced,), **options)
        async def queue(inputs: list[int]) -> list[int | Exception]:
            self.calls.append(inputs)
            self.running += 1
            self.most_running = max(self.most_running, self.running)
            try:
                outcomes: list[int | Exception] = await self.handle(inputs)
                return outcomes
            finally:
                self.running -= 1

        self.queue = queue
        async with m25.testing.open(shutdown_grace=1) as self.m:
            self.m.add_queue(queue)
            await self.m.enqueue_many(queue, jobs)
            await self.m.start()
            yield self.m

    def jobs(self) -> list[m25.JobRecord[int, int, Bounced]]:
        return m25.testing.jobs(self.m, self.queue)

    def statuses(self) -> list[str]:
        return [job.status.value for job in self.jobs()]


async def doubled(inputs: list[int]) -> list[int | Exception]:
    return [2 * number for number in inputs]


async def test_jobs_that_are_due_together_are_one_call_and_each_has_its_output(
    autojump_clock: trio.testing.MockClock,
) -> None:
    world = World(doubled)
    async with world.open(range(7)) as m:
        await m25.testing.drain(m)
        assert sorted(map(len, world.calls)) == [1, 3, 3]
        assert [job.output for job in world.jobs()] == [0, 2, 4, 6, 8, 10, 12]


async def test_each_job_has_the_outcome_that_is_returned_for_it(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    answers: dict[int, list[Any]] = {
        0: [0],
        1: [Bounced("full"), 1],
        2: [ValueError("no"), m25.RetryAfter(7), 2],
        3: [m25.GiveUp("never")],
        4: [m25.Snooze(5), 4],
        # What cannot be written fails alone, too.
        5: [object(), object(), object()],
    }

    async def handle(inputs: list[int]) -> list[Any]:
        return [answers[number].pop(0) for number in inputs]

    world = World(handle)
    jobs = [m25.Job(number, max_attempts=3, retry_delay=1) for number in answers]
    async with world.open(jobs) as m:
        await m25.testing.drain(m, scheduled=True)
        ends = {
            (job.input, job.attempt): (job.status.value, job.output, job.failure_reason)
            for job in world.jobs()
        }
        crash = m25.FailureReason.CRASH
        assert ends == {
            (0, 1): ("succeeded", 0, None),
            (1, 1): ("failed", None, m25.FailureReason.ERRORED),
            (1, 2): ("succeeded", 1, None),
            (2, 1): ("failed", None, crash),
            (2, 2): ("failed", None, crash),
            (2, 3): ("succeeded", 2, None),
            (3, 1): ("failed", None, crash),
            (4, 1): ("succeeded", 4, None),
            (5, 1): ("failed", None, crash),
            (5, 2): ("failed", None, crash),
            (5, 3): ("failed", None, crash),
        }
        declared = next(job for job in world.jobs() if (job.input, job.attempt) == (1, 1))
        assert str(declared.error_data) == "full"
        told = next(job for job in world.jobs() if (job.input, job.attempt) == (2, 1))
        assert told.crash_message == "no"


async def test_what_the_handler_raises_fails_all_each_by_its_own_retry_rule(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def handle(inputs: list[int]) -> list[int | Exception]:
        if len(world.calls) == 1:
            raise Bounced("all")
        return await doubled(inputs)

    world = World(handle)
    async with world.open([m25.Job(0), m25.Job(1, max_attempts=2), m25.Job(2)]) as m:
        await m25.testing.drain(m)
        assert world.statuses() == ["failed", "failed", "failed", "succeeded"]
        assert [str(job.error_data) for job in world.jobs()[:3]] == ["all"] * 3
        assert world.calls[1:] == [[1]]


@pytest.mark.parametrize(
    ("returned", "said"),
    [([1], "it returned 1 outcomes"), (None, "it returned None"), ("abc", "it returned 'abc'")],
)
async def test_another_number_of_outcomes_fails_all_and_says_so(
    autojump_clock: trio.testing.MockClock, returned: Any, said: str
) -> None:
    async def handle(_: list[int]) -> Any:
        return returned

    world = World(handle)
    async with world.open(range(3)) as m:
        await m25.testing.drain(m)
        assert world.statuses() == ["failed"] * 3
        for job in world.jobs():
            assert job.crash_message is not None
            assert said in job.crash_message
            assert "was called with 3 jobs" in job.crash_message


async def test_a_handler_that_returns_nothing_has_succeeded_for_all(
    autojump_clock: trio.testing.MockClock,
) -> None:
    @m25.queue("silent", batch=m25.Batch(10))
    async def silent(_: list[int]) -> None: ...

    async with m25.testing.open() as m:
        m.add_queue(silent)
        await m.enqueue_many(silent, range(4))
        await m.start()
        await m25.testing.drain(m)
        assert [job.status.value for job in m25.testing.jobs(m, silent)] == ["succeeded"] * 4


async def test_an_input_that_cannot_be_read_fails_alone(
    autojump_clock: trio.testing.MockClock,
) -> None:
    words = m25.declare("q", input=str, output=int)
    world = World(doubled)
    async with world.open([]) as m:
        await m.pause(world.queue)
        await m.enqueue_many(world.queue, [1, 2])
        await m.enqueue(words, "three")
        await m.resume(world.queue)
        await m25.testing.drain(m)
        rows = m._runtime.store.rows()  # type: ignore[attr-defined]
        assert [row.status for row in rows] == ["succeeded", "succeeded", "failed"]
        assert world.calls == [[1, 2]]


@pytest.mark.parametrize(("size", "slots"), [(30, 10), (100, 2), (130, 3), (1_000, 2)])
async def test_a_call_has_as_many_jobs_as_its_batch_and_no_more_calls_run_than_slots(
    size: int, slots: int, autojump_clock: trio.testing.MockClock
) -> None:
    calls: list[int] = []

    @m25.queue("q", batch=m25.Batch(size), max_concurrency=slots)
    async def queue(inputs: list[int]) -> None:
        calls.append(len(inputs))
        await trio.sleep_forever()

    async with m25.testing.open(shutdown_grace=0) as m:
        m.add_queue(queue)
        await m.enqueue_many(queue, range(size * (slots + 1)))
        await m.start()
        await trio.testing.wait_all_tasks_blocked(0.01)
        await trio.sleep(1)
        assert calls == [size] * slots


async def test_what_a_handler_raises_for_all_is_in_the_log_once_with_its_traceback(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def fails(_: list[int]) -> None:
        raise OSError("the disk is full")

    world = World(fails)
    async with world.open(range(3)) as m:
        await m25.testing.drain(m)
        assert all("the disk is full" in (job.crash_traceback or "") for job in world.jobs())
    crashes = [line for line in caplog.records if line.m25_event == "JobCrashed"]
    assert len({line.m25_job_id for line in crashes}) == 3
    assert [line.exc_info is not None for line in crashes] == [True, False, False]


async def test_on_a_server_a_batch_is_claimed_and_its_outcomes_are_written(dsn: str) -> None:
    calls: list[int] = []

    @m25.queue("q", batch=m25.Batch(100), errors=(Bounced,), max_concurrency=2)
    async def queue(inputs: list[int]) -> list[int | Exception]:
        calls.append(len(inputs))
        return [Bounced(number) if number % 10 == 0 else 2 * number for number in inputs]

    async with m25.open(dsn) as m:
        m.add_queue(queue)
        ids = (await m.enqueue_many(queue, range(250))).ids
        await m.start()
        with trio.fail_after(60):
            ended = [await m.wait(queue, id) for id in ids]
    assert sorted(calls) == [50, 100, 100]
    assert [job.output for job in ended] == [
        None if number % 10 == 0 else 2 * number for number in range(250)
    ]
    assert [job.error_data.args for job in ended if job.error_data is not None] == [
        (number,) for number in range(0, 250, 10)
    ]


# Cancels, deadlines, stops, lost claims


async def test_a_cancel_of_one_job_is_told_and_reaches_no_other(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def handle(inputs: list[int]) -> list[int | Exception]:
        await trio.sleep(5)
        cancelled = [job.is_cancelled for job in m25.current_jobs()]
        assert cancelled == [True, True, False]
        # The first was done already; with the second nothing was begun.
        return [10, m25.Snooze(0), 30]

    world = World(handle)
    async with world.open(range(3)) as m:
        await trio.sleep(1)
        for job in world.jobs()[:2]:
            await m.cancel_job(world.queue, job.id, running=True)
        await m25.testing.drain(m)
        assert world.statuses() == ["succeeded", "cancelled", "succeeded"]


async def test_a_cancelled_job_ends_after_its_grace_while_the_others_go_on(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def handle(inputs: list[int]) -> list[int | Exception]:
        await trio.sleep(30)
        return await doubled(inputs)

    world = World(handle)
    async with world.open(range(3), cancel_grace=2) as m:
        await trio.sleep(1)
        await m.cancel_job(world.queue, world.jobs()[0].id, running=True)
        await trio.sleep(4)
        assert world.statuses() == ["cancelled", "executing", "executing"]
        await m25.testing.drain(m)
        assert world.statuses() == ["cancelled", "succeeded", "succeeded"]


async def test_a_handler_whose_jobs_are_all_cancelled_is_cancelled(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def handle(_: list[int]) -> list[int | Exception]:
        await trio.sleep_forever()
        raise AssertionError

    world = World(handle)
    async with world.open(range(3)) as m:
        await trio.sleep(1)
        for number, job in enumerate(world.jobs()):
            assert world.running == 1, number
            await m.cancel_job(world.queue, job.id, running=True)
            await trio.sleep(0.1)
        assert world.running == 0
        assert world.statuses() == ["cancelled"] * 3


async def test_a_batch_has_as_long_as_the_job_with_the_shortest_timeout(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def handle(inputs: list[int]) -> list[int | Exception]:
        if len(inputs) == 3:
            await trio.sleep(60)
        return await doubled(inputs)

    world = World(handle)
    jobs = [m25.Job(0, timeout=10), m25.Job(1, timeout=100, max_attempts=2), m25.Job(2)]
    async with world.open(jobs) as m:
        began = trio.current_time()
        await m25.testing.drain(m)
        assert trio.current_time() - began < 20
        assert world.statuses() == ["failed", "failed", "failed", "succeeded"]
        reasons = {job.failure_reason for job in world.jobs()[:3]}
        assert reasons == {m25.FailureReason.JOB_TIMEOUT}
    assert caplog.text.count("reached its deadline of 10.000 s") == 3


async def test_a_stop_that_cuts_a_batch_short_releases_its_jobs_once_its_handler_has_ended(
    autojump_clock: trio.testing.MockClock,
) -> None:
    at_the_end: list[str] = []

    async def handle(_: list[int]) -> list[int | Exception]:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(3)
            at_the_end.extend(world.statuses())
        raise AssertionError

    world = World(handle)
    async with world.open(range(3)) as m:
        await trio.sleep(1)
        await m.stop()
        assert at_the_end == ["executing"] * 3
        assert world.statuses() == ["pending"] * 3
        assert {job.attempt for job in world.jobs()} == {1}


async def test_a_job_that_is_another_claims_by_then_loses_its_outcome_and_the_others_keep_theirs(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def handle(inputs: list[int]) -> list[int | Exception]:
        first = len(world.calls) == 1
        await trio.sleep(20)
        return [100 + number if first else number for number in inputs]

    world = World(handle)
    async with world.open(range(3), heartbeat_interval=1) as m:
        await trio.sleep(1)
        store = m._runtime.store
        row = next(iter(store._table.rows.values()))  # type: ignore[attr-defined]
        await store.release([Release(row.id, row.claim_token)], [])
        m._runtime.hints.work("q", rewind=True)
        await m25.testing.drain(m)
        assert world.calls == [[0, 1, 2], [0]]
        assert [job.output for job in world.jobs()] == [0, 101, 102]
    assert caplog.text.count("late result discarded") == 1


# Slots, and when a batch begins


async def test_a_batch_takes_one_slot_and_a_claim_fills_those_that_are_free(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def handle(inputs: list[int]) -> list[int | Exception]:
        await trio.sleep(1)
        return await doubled(inputs)

    world = World(handle)
    async with world.open(range(30), max_concurrency=2) as m:
        await trio.sleep(0.5)
        assert sorted(world.calls) == [[0, 1, 2], [3, 4, 5]]
        assert world.statuses().count("executing") == 6
        await m25.testing.drain(m)
    assert world.most_running == 2
    assert len(world.calls) == 10


async def test_a_process_counts_a_batch_as_one_handler(
    autojump_clock: trio.testing.MockClock,
) -> None:
    running = most = 0

    async def work() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await trio.sleep(1)
        running -= 1

    @m25.queue("batches", batch=m25.Batch(4))
    async def batches(_: list[int]) -> None:
        await work()

    @m25.queue("plain")
    async def plain(_: int) -> None:
        await work()

    async with m25.testing.open(max_concurrency=2) as m:
        for queue in (batches, plain):
            m.add_queue(queue)
            await m.enqueue_many(queue, range(20))
        await m.start()
        began = trio.current_time()
        await m25.testing.drain(m)
        assert most == 2
        # 25 calls of a second each, by two at a time, where no slot is empty.
        assert trio.current_time() - began < 16


async def test_a_handler_of_a_batch_that_waits_for_jobs_gives_its_slot_back(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def handle(inputs: list[int]) -> list[int | Exception]:
        if max(inputs) < 100:
            return await doubled(inputs)
        return [await m25.current_jobs()[0].m.call(world.queue, 1) for _ in inputs]

    world = World(handle)
    async with world.open([100, 101, 102], max_concurrency=1) as m:
        with trio.fail_after(100):
            await m25.testing.drain(m)
        assert [job.output for job in world.jobs()[:3]] == [2, 2, 2]


async def test_jobs_that_come_one_by_one_wait_for_each_other_and_a_backlog_does_not(
    autojump_clock: trio.testing.MockClock,
) -> None:
    world = World(doubled)
    async with world.open([], wait=2, max_concurrency=1) as m:
        await trio.sleep(10)
        began = trio.current_time()
        for number in range(3):
            await m.enqueue(world.queue, number)
            await trio.sleep(0.5)
        assert world.statuses() == ["pending"] * 3
        await m25.testing.drain(m)
        assert world.calls == [[0, 1, 2]]
        assert 1.9 < trio.current_time() - began < 3
        await trio.sleep(10)
        began = trio.current_time()
        await m.enqueue_many(world.queue, range(30))
        await m25.testing.drain(m)
        assert len(world.calls) == 11
        assert trio.current_time() - began < 3


# What a handler sees


async def test_a_handler_of_a_batch_has_many_jobs_and_none_of_its_own(
    autojump_clock: trio.testing.MockClock,
) -> None:
    said: list[str] = []

    async def handle(inputs: list[int]) -> list[int | Exception]:
        jobs = m25.current_jobs()
        assert [job.input for job in jobs] == inputs
        for ask in (m25.current_job, jobs[0].open_nursery):
            with pytest.raises(NotInJob, match=r"current_jobs\(\) has all of them"):
                ask()
        for wait in (jobs[0].step("s", doubled, [1]), jobs[0].sleep(100)):
            with pytest.raises(m25.UsageError, match="a job of a batch keeps no steps"):
                await wait
        for job in jobs:
            await job.report(done=job.input)
        said.append("done")
        await jobs[0].m.stop()
        return await doubled(inputs)

    world = World(handle)
    async with world.open(range(3)) as m:
        for job in world.jobs():
            ended = await m.wait(world.queue, job.id)
            assert ended.crash_message is None
            reports = [each.done async for each in m.progress(world.queue, job.id)]
            assert reports[-1:] == [job.input]
    assert said == ["done"]


def test_outside_of_a_handler_there_are_no_jobs() -> None:
    with pytest.raises(NotInJob, match="from within a handler"):
        m25.current_jobs()


async def test_any_other_handler_has_one_job(autojump_clock: trio.testing.MockClock) -> None:
    @m25.queue("plain")
    async def plain(_: int) -> bool:
        return m25.current_jobs() == [m25.current_job()]

    assert (await m25.testing.run_job(plain, 1)).output


async def test_around_is_entered_for_each_job_of_a_batch(
    autojump_clock: trio.testing.MockClock,
) -> None:
    entered: list[int] = []

    @asynccontextmanager
    async def around(job: m25.RunningJob[Any, Any, Any]) -> AsyncGenerator[None]:
        entered.append(job.input)
        yield
        entered.remove(job.input)

    @asynccontextmanager
    async def lifespan() -> AsyncGenerator[str]:
        yield "a client"

    @m25.queue("q", batch=m25.Batch(5), lifespan=lifespan)
    async def queue(inputs: list[int], *, shared: str) -> list[str]:
        assert entered == inputs
        return [shared for _ in inputs]

    async with m25.testing.open(around=[around]) as m:
        m.add_queue(queue)
        await m.enqueue_many(queue, range(4))
        await m.start()
        await m25.testing.drain(m)
        assert [job.output for job in m25.testing.jobs(m, queue)] == ["a client"] * 4
    assert entered == []


async def test_one_job_is_run_as_a_batch_of_one(autojump_clock: trio.testing.MockClock) -> None:
    declared = m25.declare("d", input=int, output=str)

    @m25.queue(declared, batch=m25.Batch(5))
    async def queue(inputs: list[int]) -> list[str | Exception]:
        return [str(each) for each in inputs]

    assert (await m25.testing.run_job(queue, 7)).output == "7"


# How it is declared


async def one_list(_: list[int]) -> list[int]:
    raise NotImplementedError


@asynccontextmanager
async def nothing() -> AsyncGenerator[None]:
    yield


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"transactional": True}, "batch cannot be had with transactional=True"),
        ({"setup": nothing}, "batch cannot be had with setup"),
        ({"exclusive": True}, "batch cannot be had with exclusive=True"),
        ({"limit": m25.Limit(3)}, "batch cannot be had with limit"),
        ({"rate": m25.Rate(3, per=1)}, "batch cannot be had with rate"),
        ({"fair_by": "customer"}, "batch cannot be had with fair_by"),
        ({"ordered_by": "customer"}, "batch cannot be had with ordered_by"),
        ({"batch": 3}, "batch must be a m25.Batch"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_cannot_be_had_with_batches_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidQueue, match=said):
        m25.Queue("q", handler_function=one_list, **{"batch": m25.Batch(3), **options})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"size": 0}, "from 1 to 1000"),
        ({"size": True}, "from 1 to 1000"),
        ({"size": 2, "wait": 61}, "at most 60 s"),
        ({"size": 2, "wait": -1}, "wait"),
    ],
)
def test_a_batch_that_is_none_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidQueue, match=said):
        m25.Batch(**options)


def test_a_handler_of_batches_takes_a_list_and_returns_one() -> None:
    async def takes_one(_: int) -> list[int]:
        raise NotImplementedError

    async def returns_one(_: list[int]) -> int:
        raise NotImplementedError

    async def returns_errors(_: list[int]) -> list[Bounced]:
        raise NotImplementedError

    for handler, said in (
        (takes_one, r"takes <class 'int'>; write list\[…\]"),
        (returns_one, r"returns <class 'int'>; write list\[Output \| Exception\]"),
        (returns_errors, r"write list\[Output \| Exception\]"),
    ):
        with pytest.raises(InvalidQueue, match=said):
            m25.queue("q", batch=m25.Batch(3))(handler)  # type: ignore[arg-type]
