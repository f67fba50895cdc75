"""A setup that can never work is refused where that is seen, and else ends its attempts."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, nullcontext
from typing import Any

import pytest

import m25
import m25.testing
from m25 import FailureReason, JobStatus
from m25.errors import InvalidQueue
from support.told import told


@contextmanager
def decorated() -> Iterator[int]:
    yield 1


def generator() -> Iterator[int]:
    yield 1


class Sync:
    def __enter__(self) -> int:
        return 1

    def __exit__(self, *_: object) -> None: ...

    @contextmanager
    def method(self) -> Iterator[int]:
        yield 1


class Nothing: ...


@contextmanager
def with_argument(_: int) -> Iterator[int]:
    yield 1


@pytest.mark.parametrize(
    "setup",
    [decorated, generator, Sync, Sync().method, Nothing, functools.partial(with_argument, 1)],
)
def test_a_setup_that_is_not_async_is_refused_where_the_queue_is_declared(setup: Any) -> None:
    async def handler(number: int, one: int) -> int:
        return number + one

    with pytest.raises(InvalidQueue, match="setup must return an async context manager, and this"):
        m25.queue("sums", setup=setup)(handler)


class Both(Sync):
    async def __aenter__(self) -> int:
        return 1

    async def __aexit__(self, *_: object) -> None: ...


class Made:
    """Its `__new__` returns another class's instance."""

    def __new__(cls) -> Any:
        return Both()


def wrapping(function: Any) -> Any:
    @functools.wraps(function)
    def wrapper() -> AbstractAsyncContextManager[int]:
        return nullcontext(next(function()))

    return wrapper


@asynccontextmanager
async def good() -> Any:
    yield 1


@pytest.mark.parametrize(
    "setup", [good, Both, Made, wrapping(generator), lambda: nullcontext(1), lambda: good()]
)
async def test_whatever_returns_an_async_one_works(setup: Any) -> None:
    @m25.queue("sums", setup=setup)
    async def sums(number: int, one: int) -> int:
        return number + one

    assert (await m25.testing.run_job(sums, 1)).output == 2


@pytest.mark.parametrize(
    ("setup", "said"),
    [
        (lambda: decorated(), "a context manager that is not async; @contextlib.async"),
        (lambda: Sync(), r"Sync: a context manager that is not async"),
        (lambda: None, "and returned builtins.NoneType$"),
        (lambda: good, "and returned builtins.function$"),
    ],
)
async def test_one_that_shows_itself_when_called_ends_the_attempt_once(
    setup: Any, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    @m25.queue("sums", setup=setup)
    async def sums(number: int, one: int) -> int:
        return number + one

    async with m25.testing.open() as m:
        m.add_queue(sums)
        await m.start()
        await m.enqueue(sums, 1)
        await m25.testing.drain(m)
        (job,) = m25.testing.jobs(m, sums)
    assert (job.status, job.failure_reason) == (JobStatus.FAILED, FailureReason.CRASH)
    assert job.crash_type == "m25.errors.SetupUnusable"
    assert job.crash_message is not None
    assert re.search(said, job.crash_message)
    assert told(caplog) == ["JobCrashed"]
