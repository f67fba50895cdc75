"""`lifespan=`: what the jobs of a queue share, opened once in each process that runs them."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
import trio
import trio.testing

import m25
import m25.testing
from m25.errors import InvalidQueue, QueueStartError
from support.told import lines
from support.waiting import ended


async def test_a_lifespan_is_entered_once_before_the_first_job_and_left_after_the_last(
    dsn: str,
) -> None:
    happened: list[str] = []

    @asynccontextmanager
    async def client() -> AsyncIterator[str]:
        happened.append("entered")
        yield "the client"
        happened.append("left")

    @m25.queue("sharing", lifespan=client)
    async def sharing(number: int, *, shared: str) -> str:
        happened.append("job")
        return shared

    async with m25.open(dsn) as m:
        m.add_queue(sharing)
        await m.start()
        assert happened == ["entered"]
        for number in range(3):
            record = await ended(m, sharing, (await m.enqueue(sharing, number)).id)
            assert record.output == "the client"
    assert happened == ["entered", "job", "job", "job", "left"]


async def test_what_setup_and_lifespan_yield_comes_by_name_or_place() -> None:
    @asynccontextmanager
    async def one() -> AsyncIterator[str]:
        yield "one"

    @asynccontextmanager
    async def process() -> AsyncIterator[str]:
        yield "process"

    @m25.queue("by place", setup=one, lifespan=process)
    async def by_place(number: int, mine: str, shared: str) -> list[str]:
        return [mine, shared]

    @m25.queue("by name", setup=one, lifespan=process)
    async def by_name(number: int, *, shared: str, resource: str) -> list[str]:
        return [resource, shared]

    @m25.queue("in another order", setup=one, lifespan=process)
    async def in_another_order(number: int, shared: str, resource: str) -> list[str]:
        return [resource, shared]

    @m25.queue("not asked for", lifespan=process)
    async def not_asked_for(number: int) -> list[str]:
        return ["one", "process"]

    for queue in (by_place, by_name, in_another_order, not_asked_for):
        job = await m25.testing.run_job(queue, 1)
        assert job.output == ["one", "process"], queue.name


async def test_a_default_is_taken_where_there_is_no_lifespan() -> None:
    @m25.queue("alone")
    async def alone(number: int, *, shared: str = "nothing") -> str:
        return shared

    assert (await m25.testing.run_job(alone, 1)).output == "nothing"


def test_a_parameter_that_nothing_brings_is_refused_at_the_declaration() -> None:
    async def without(number: int, *, shared: str) -> None: ...

    async def another(number: int, *, connection: str) -> None: ...

    async def no_place(number: int, shared: str) -> None: ...

    @asynccontextmanager
    async def resource() -> AsyncIterator[str]:
        yield ""

    with pytest.raises(InvalidQueue, match="`shared`, which lifespan yields, where its queue has"):
        m25.queue("x")(without)
    with pytest.raises(InvalidQueue, match=r"\(input\), and takes \(number, connection\)"):
        m25.queue("x", lifespan=resource)(another)
    with pytest.raises(InvalidQueue, match=r"\(input, what setup yields, shared\), and takes"):
        m25.queue("x", setup=resource, lifespan=resource)(no_place)
    with pytest.raises(InvalidQueue, match="lifespan must be a function that returns an async"):
        m25.queue("x", lifespan=resource())(without)  # type: ignore[arg-type]


async def test_a_lifespan_that_fails_is_told_and_tried_again_with_growing_pauses(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    tries: list[float] = []

    @asynccontextmanager
    async def client() -> AsyncIterator[str]:
        tries.append(trio.current_time())
        if len(tries) < 5:
            raise OSError("nobody answers")
        yield "the client"

    @m25.queue("sharing", lifespan=client)
    async def sharing(number: int, shared: str) -> str:
        return shared

    async with m25.testing.open() as m:
        m.add_queue(sharing)
        await m.start()
        await m.enqueue(sharing, 1)
        await m25.testing.drain(m)
        (job,) = m25.testing.jobs(m, sharing)
    assert job.output == "the client"
    pauses = [after - before for before, after in pairwise(tries)]
    assert len(pauses) == 4
    assert all(after > before for before, after in pairwise(pauses))
    events = lines(caplog, "QueueUnready")
    assert [event.m25_error_type for event in events] == ["OSError"] * 4


async def test_a_start_says_that_a_lifespan_did_not_open(
    autojump_clock: trio.testing.MockClock,
) -> None:
    @asynccontextmanager
    async def failing() -> AsyncIterator[None]:
        raise OSError("nobody answers")
        yield

    @asynccontextmanager
    async def hanging() -> AsyncIterator[None]:
        await trio.sleep_forever()
        yield

    for lifespan, reason in (
        (failing, "its lifespan could not be opened, OSError: nobody answers, within 2 s"),
        (hanging, "its lifespan did not open, within 2 s"),
    ):

        @m25.queue("sharing", lifespan=lifespan)
        async def sharing(number: int) -> None: ...

        async with m25.testing.open() as m:
            m.add_queue(sharing)
            began = trio.current_time()
            with pytest.raises(QueueStartError, match=reason) as error:
                await m.start(queue_init_timeout=2)
            assert trio.current_time() - began == pytest.approx(2)
            assert isinstance(error.value.__cause__, OSError) is (lifespan is failing)


async def test_a_lifespan_that_ends_while_jobs_run_is_entered_again_and_its_jobs_run_again(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    lost = trio.Event()
    lifespans = 0

    @asynccontextmanager
    async def client() -> AsyncIterator[int]:
        nonlocal lifespans
        lifespans += 1

        async def watch() -> None:
            await lost.wait()
            if lifespans == 1:
                raise ConnectionError("lost")
            await trio.sleep_forever()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            yield lifespans
            nursery.cancel_scope.cancel()

    @m25.queue("sharing", lifespan=client)
    async def sharing(number: int, shared: int) -> int:
        if shared == 1:
            lost.set()
            await trio.sleep_forever()
        return shared

    async with m25.testing.open() as m:
        m.add_queue(sharing)
        await m.start()
        await m.enqueue(sharing, 1)
        await m25.testing.drain(m)
        (job,) = m25.testing.jobs(m, sharing)
    assert (job.output, job.attempt) == (2, 1)
    (unready,) = lines(caplog, "QueueUnready")
    assert unready.getMessage().startswith(
        "the lifespan of queue 'sharing' failed, ConnectionError was raised; opened again in "
    )
    (released,) = lines(caplog, "JobReleased")
    assert "released, the lifespan of its queue ended, or its worker was" in released.getMessage()


async def test_a_lifespan_that_ends_its_block_by_itself_is_told(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    @asynccontextmanager
    async def brief() -> AsyncIterator[None]:
        with trio.move_on_after(3):
            yield

    @m25.queue("sharing", lifespan=brief)
    async def sharing(number: int) -> int:
        return number

    async with m25.testing.open() as m:
        m.add_queue(sharing)
        await m.start()
        await trio.sleep(5)
        await m.enqueue(sharing, 1)
        await m25.testing.drain(m)
        (job,) = m25.testing.jobs(m, sharing)
    assert job.output == 1
    assert [event.m25_error_type for event in lines(caplog, "QueueUnready")] == [
        "m25.errors.LifespanEnded"
    ]


@pytest.mark.parametrize("cancelled", [False, True])
async def test_the_end_of_a_lifespan_is_shielded_and_bounded(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture, cancelled: bool
) -> None:
    left: list[float] = []

    def lifespan(seconds: float):
        @asynccontextmanager
        async def client() -> AsyncIterator[None]:
            try:
                yield
            finally:
                await trio.sleep(seconds)
                left.append(seconds)

        return client

    @m25.queue("brief", lifespan=lifespan(2))
    async def brief(number: int) -> None: ...

    @m25.queue("endless", lifespan=lifespan(100))
    async def endless(number: int) -> None: ...

    began = trio.current_time()
    with trio.CancelScope() as scope:
        async with m25.testing.open() as m:
            m.add_queue(brief)
            m.add_queue(endless)
            await m.start()
            if cancelled:
                scope.cancel()
                await trio.sleep_forever()
    assert left == [2]
    assert trio.current_time() - began == pytest.approx(5)
    assert [event.m25_queue for event in lines(caplog, "LifespanExitTimedOut")] == ["endless"]


async def test_run_job_bounds_the_end_of_a_lifespan_as_a_worker_does(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    @asynccontextmanager
    async def client() -> AsyncIterator[None]:
        try:
            yield
        finally:
            await trio.sleep_forever()

    @m25.queue("endless", lifespan=client)
    async def endless(number: int) -> int:
        return number

    began = trio.current_time()
    assert (await m25.testing.run_job(endless, 1)).output == 1
    assert trio.current_time() - began == pytest.approx(5)
    assert len(lines(caplog, "LifespanExitTimedOut")) == 1


async def test_what_a_lifespan_raises_in_being_left_is_told_and_ends_no_program(
    caplog: pytest.LogCaptureFixture,
) -> None:
    @asynccontextmanager
    async def client() -> AsyncIterator[None]:
        yield
        raise OSError("could not be closed")

    @m25.queue("sharing", lifespan=client)
    async def sharing(number: int) -> None: ...

    async with m25.testing.open() as m:
        m.add_queue(sharing)
        await m.start()
    (event,) = lines(caplog, "QueueUnready")
    assert "failed, OSError was raised, as it ended" in event.getMessage()


async def test_a_stop_does_not_wait_for_a_lifespan_that_does_not_open_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    entered = 0

    @asynccontextmanager
    async def client() -> AsyncIterator[None]:
        nonlocal entered
        entered += 1
        if entered > 1:
            await trio.sleep_forever()
        with trio.move_on_after(1):
            yield

    @m25.queue("sharing", lifespan=client)
    async def sharing(number: int) -> None: ...

    async with m25.testing.open() as m:
        m.add_queue(sharing)
        await m.start()
        await trio.sleep(10)
        began = trio.current_time()
        await m.stop()
        assert trio.current_time() == began
