"""What is raised in the block comes out as it was raised: m25's own nurseries leave no trace."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
import trio

import m25
import m25.testing


@pytest.fixture(params=["database", "memory"])
def opened(request: pytest.FixtureRequest) -> Callable[[], AbstractAsyncContextManager[m25.M25]]:
    if request.param == "memory":
        return m25.testing.open
    dsn: str = request.getfixturevalue("dsn")
    return lambda: m25.open(dsn)


ERRORS: list[Callable[[], BaseException]] = [
    lambda: ValueError("alone"),
    lambda: ExceptionGroup("one", [ValueError("a")]),
    lambda: ExceptionGroup("two", [ValueError("a"), KeyError("b")]),
    lambda: ExceptionGroup("deep", [ExceptionGroup("deeper", [ValueError("a")])]),
    lambda: BaseExceptionGroup("exit", [SystemExit(3)]),
]


@pytest.mark.parametrize("make", ERRORS)
async def test_an_exception_or_a_group_comes_out_as_it_was_raised(
    make: Callable[[], BaseException], opened: Callable[[], Any]
) -> None:
    error, cause = make(), OSError("why")
    before = KeyError("before")
    with pytest.raises(type(error)) as raised:
        async with opened() as m:
            await m.start()
            try:
                raise before
            except KeyError:
                raise error from cause
    if not isinstance(error, BaseExceptionGroup):
        assert raised.value is error
    # Trio makes a copy of a group that passes through a scope.
    assert repr(raised.value) == repr(error)
    assert raised.value.__cause__ is cause
    assert raised.value.__context__ is before


async def test_so_does_the_group_of_ones_own_nursery(opened: Callable[[], Any]) -> None:
    async def fail() -> None:
        raise ValueError("mine")

    with pytest.raises(ExceptionGroup) as raised:
        async with opened(), trio.open_nursery() as nursery:
            nursery.start_soon(fail)
    assert [repr(each) for each in raised.value.exceptions] == ["ValueError('mine')"]


async def test_so_does_a_group_that_was_raised_while_being_cancelled() -> None:
    with pytest.raises(ExceptionGroup) as raised:
        with trio.CancelScope() as scope:
            async with m25.testing.open(), trio.open_nursery():
                scope.cancel()
                try:
                    await trio.sleep_forever()
                finally:
                    raise ValueError("while cleaning up")
    assert [repr(each) for each in raised.value.exceptions] == ["ValueError('while cleaning up')"]


async def test_a_cancellation_is_absorbed_by_its_own_scope(opened: Callable[[], Any]) -> None:
    with trio.CancelScope() as scope:
        async with opened() as m:
            await m.start()
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
