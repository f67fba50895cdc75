"""Queues whose jobs of one key run one after another, as their workers run them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest
import trio
import trio.testing

import m25
import m25.testing
from support.told import lines


@attrs.frozen
class Step:
    account: str
    number: int = 0
    takes: float = 0.0


@attrs.define
class Log:
    """What handlers have begun, in order."""

    began: list[tuple[str, int]] = attrs.Factory(list[tuple[str, int]])
    running: Counter[str] = attrs.field(factory=Counter)

    @contextmanager
    def note(self, step: Step) -> Generator[None]:
        self.running[step.account] += 1
        assert self.running[step.account] == 1
        self.began.append((step.account, step.number))
        try:
            yield
        finally:
            self.running[step.account] -= 1

    def of(self, account: str) -> list[int]:
        return [number for name, number in self.began if name == account]

    def queue(self, **options: Any) -> m25.Queue[Step, None, Any]:
        @m25.queue("steps", ordered_by="account", **{"poll_interval": 600, **options})
        async def steps(step: Step) -> None:
            with self.note(step):
                await trio.sleep(step.takes)
                if step.number < 0:
                    raise OSError

        return steps


async def test_the_jobs_of_a_key_run_one_after_another_and_each_at_once_after_the_one_before(
    autojump_clock: trio.testing.MockClock,
) -> None:
    log = Log()
    queue = log.queue(max_concurrency=10)
    async with m25.testing.open() as m:
        m.add_queue(queue)
        await m.start()
        began = trio.current_time()
        steps = [Step(account, number, 1) for number in range(5) for account in "abc"]
        put = await m.enqueue_many(queue, steps)
        for id in put.ids:
            await m.wait(queue, id)
        # None waits for a poll, or for a look that comes once a second.
        assert trio.current_time() - began == pytest.approx(5, abs=0.5)
    assert [log.of(account) for account in "abc"] == [list(range(5))] * 3


async def test_a_retry_is_waited_for_and_comes_in_its_time(
    autojump_clock: trio.testing.MockClock,
) -> None:
    log = Log()
    tries: list[float] = []

    @m25.queue("steps", ordered_by="account", retry=m25.Retry(max_attempts=3, delay=0.25))
    async def steps(step: Step) -> None:
        with log.note(step):
            if step.number == 0:
                tries.append(trio.current_time())
                if len(tries) == 1:
                    raise OSError
                if len(tries) == 2:
                    raise m25.Snooze(30)

    async with m25.testing.open() as m:
        m.add_queue(steps)
        await m.start()
        put = await m.enqueue_many(steps, [Step("a", number) for number in range(3)])
        for id in put.ids:
            await m.wait(steps, id)
    assert log.of("a") == [0, 0, 0, 1, 2]
    assert tries[1] - tries[0] == pytest.approx(0.25, abs=0.1)
    assert tries[2] - tries[1] == pytest.approx(30, abs=1)


async def test_what_has_failed_for_good_holds_its_key_and_that_is_told(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    log = Log()
    queue = log.queue()
    async with m25.testing.open() as m:
        m.add_queue(queue)
        await m.start()
        failing = await m.enqueue(queue, Step("a", -1))
        await m.enqueue_many(queue, [Step("a", 1), Step("b", 2)])
        # A drain does not wait for what is held.
        await m25.testing.drain(m)
        assert (log.of("a"), log.of("b")) == ([-1], [2])
        (line,) = lines(caplog, "KeyStopped")
        assert line.m25_job_id == str(failing.id)
        assert "until it is retried, skipped or deleted" in line.getMessage()
        await m.retry(failing.id)
        await m25.testing.drain(m)
        assert log.of("a") == [-1, -1]
        await m.delete(failing.id)
        await m25.testing.drain(m)
    assert log.of("a") == [-1, -1, 1]


async def test_with_pass_those_behind_go_on(autojump_clock: trio.testing.MockClock) -> None:
    log = Log()
    queue = log.queue(if_failed="pass")
    async with m25.testing.open() as m:
        m.add_queue(queue)
        await m.start()
        await m.enqueue_many(queue, [Step("a", -1), Step("a", 1)])
        await m25.testing.drain(m)
    assert log.of("a") == [-1, 1]


async def test_a_cancel_in_another_process_lets_the_next_go_within_a_second(
    autojump_clock: trio.testing.MockClock,
) -> None:
    log = Log()
    queue = log.queue()
    later = datetime.now(UTC) + timedelta(hours=1)
    async with m25.testing.open() as m:
        m.add_queue(queue)
        await m.start()
        first = await m.enqueue(queue, m25.Job(Step("a", 0), scheduled_at=later))
        second = await m.enqueue(queue, Step("a", 1))
        await trio.sleep(5)
        assert log.began == []
        await m.cancel_job(queue, first.id)
        cancelled_at = trio.current_time()
        await m.wait(queue, second.id)
        assert trio.current_time() - cancelled_at < 1.5


async def test_a_job_cannot_wait_for_one_that_comes_behind_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    log = Log()

    @m25.queue("steps", ordered_by="account")
    async def steps(step: Step) -> None:
        log.began.append((step.account, step.number))
        if step.number == 0:
            job = m25.current_job()
            async with job.open_nursery() as nursery:
                with pytest.raises(m25.errors.UsageError, match="'account'"):
                    await nursery.start_job(steps, Step("a", 1))
                await nursery.start_job(steps, Step("b", 2))
                await nursery.start_job(steps, Step("a", 3), detached=True)

    async with m25.testing.open() as m:
        m.add_queue(steps)
        await m.start()
        await m.enqueue(steps, Step("a", 0))
        await m25.testing.drain(m)
    assert log.began == [("a", 0), ("b", 2), ("a", 3)]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"ordered_by": 3}, "ordered_by"),
        ({"ordered_by": "a..b"}, "ordered_by"),
        ({"ordered_by": "account", "if_failed": "stop"}, "'hold' or 'pass'"),
        ({"if_failed": "pass"}, "without ordered_by"),
        ({"ordered_by": "account", "fair_by": "account"}, "either ordered_by or fair_by"),
        ({"ordered_by": "account", "limit": m25.Limit(1, key="account")}, "none for each key"),
        ({"ordered_by": "account", "rate": m25.Rate(1, key="account")}, "none with a key"),
    ],
)
def test_what_is_no_order_is_refused_where_it_is_declared(
    options: dict[str, Any], said: str
) -> None:
    with pytest.raises(m25.errors.InvalidQueue, match=said):
        m25.Queue("steps", handler_function=Log().queue().handler_function, **options)


def test_an_ordered_queue_is_exclusive_and_a_declared_one_says_by_what_it_is_ordered() -> None:
    declared = m25.declare("steps", input=Step, output=None, ordered_by="account")

    @m25.queue(declared, if_failed="pass")
    async def steps(step: Step) -> None: ...

    assert (steps.ordered_by, steps.exclusive) == ("account", True)
    with pytest.raises(m25.errors.InvalidQueue, match="ordered_by cannot be given here"):
        m25.queue(declared, ordered_by="account")
