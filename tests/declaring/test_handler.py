"""A queue's own code may raise anything, anywhere; what each call of it may raise is said here."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

import m25
from m25 import testing
from m25._codec import Codec, Undecodable
from m25._handler import Handler, NotBegun, sort_raised
from m25.errors import ValueRefused


class Ours(BaseException):
    """Not even an `Exception`, as a library may have one."""


class NoFunds(Exception):
    """A declared error."""


CLASSES = [
    ValueError("bad"),
    RecursionError("too deep"),
    SystemExit(3),
    GeneratorExit(),
    Ours("very bad"),
    ExceptionGroup("two", [ValueError("one"), KeyError("other")]),
    BaseExceptionGroup("two", [SystemExit(1), Ours("other")]),
]
each_class = pytest.mark.parametrize("error", CLASSES, ids=lambda error: type(error).__name__)


def raising(error: BaseException) -> Codec[Any]:
    """A codec by hand whose two functions raise."""

    def fail(_: Any) -> Any:
        raise error

    return Codec(fail, fail)


PLAIN: Codec[Any] = Codec(lambda value: value, lambda value: value)


def handler(codec: Codec[Any] = PLAIN, **given: Any) -> Handler[Any, Any, Any]:
    async def echo(value: Any, *resources: Any) -> Any:
        return (value, *resources)

    return Handler(
        **{
            "function": echo,
            "setup": None,
            "errors": (NoFunds,),
            "input_codec": codec,
            "output_codec": codec,
            "error_codec": codec,
            **given,
        }
    )


# Codecs


@each_class
def test_whatever_a_decoder_raises_the_input_cannot_be_decoded(error: BaseException) -> None:
    with pytest.raises(Undecodable) as refused:
        handler(raising(error)).decode_input("1")
    cause = refused.value.__cause__
    assert cause is error or (cause is not None and cause.__cause__ is error)


@each_class
@pytest.mark.parametrize("what", ["output", "error"])
def test_whatever_an_encoder_raises_the_value_is_refused(error: BaseException, what: str) -> None:
    encode = getattr(handler(raising(error)), f"encode_{what}")
    with pytest.raises(ValueRefused) as refused:
        encode(1)
    assert str(refused.value).startswith(what)
    cause = refused.value.__cause__
    assert cause is error or (cause is not None and cause.__cause__ is error)


def test_a_codecs_own_refusal_is_raised_as_it_is() -> None:
    with pytest.raises(ValueRefused, match="output: object") as refused:
        handler().encode_output(object())
    assert not isinstance(refused.value.__cause__, ValueRefused)


def test_ctrl_c_passes_through_codecs() -> None:
    interrupted = handler(raising(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        interrupted.decode_input("1")
    with pytest.raises(KeyboardInterrupt):
        interrupted.encode_output(1)
    with pytest.raises(KeyboardInterrupt):
        interrupted.encode_error(NoFunds())


# The handler, and setup around it


class Calls:
    """A queue's setup and handler, and what is called around them, in the order of the calls."""

    def __init__(self, *, is_ours: bool = True) -> None:
        self.order: list[str] = []
        self.is_ours = is_ours

    @asynccontextmanager
    async def setup(self) -> AsyncGenerator[str]:
        self.order.append("enters")
        try:
            yield "resource"
        finally:
            self.order.append("leaves")

    async def function(self, value: int, resource: str | None = None) -> tuple[int, str | None]:
        self.order.append("runs")
        return value, resource

    async def begin(self) -> bool:
        self.order.append("begins")
        return self.is_ours

    def returned(self, output: object) -> None:
        self.order.append("returned")

    async def run(self, **given: Any) -> Any:
        given = {"function": self.function, **given}
        return await handler(**given).run(25, self.begin, self.returned)


async def test_a_handler_without_setup_is_just_called() -> None:
    calls = Calls()
    assert await calls.run() == (25, None)
    assert calls.order == ["runs"]


async def test_a_handler_runs_within_its_setup_and_is_given_what_that_made() -> None:
    calls = Calls()
    assert await calls.run(setup=calls.setup) == (25, "resource")
    assert calls.order == ["enters", "begins", "runs", "returned", "leaves"]


async def test_a_job_that_is_not_ours_any_more_after_its_setup_is_not_run() -> None:
    calls = Calls(is_ours=False)
    assert isinstance(await calls.run(setup=calls.setup), NotBegun)
    assert calls.order == ["enters", "begins", "leaves"]


# Declared errors


def test_a_declared_error_is_known_by_itself_and_as_the_only_one_of_a_group() -> None:
    declared, error = handler().declared, NoFunds("3 EUR")
    assert declared(error) is error
    assert declared(ExceptionGroup("", [ExceptionGroup("", [error])])) is error
    assert declared(ExceptionGroup("", [error, ValueError()])) is None
    assert declared(ValueError("3 EUR")) is None


def test_a_group_may_itself_be_declared() -> None:
    group = ExceptionGroup("", [ValueError(), KeyError()])
    assert handler(errors=(ExceptionGroup,)).declared(group) is group


# What a handler raised, and what only passed through it


@each_class
async def test_whatever_a_handler_raises_is_its_own(error: BaseException) -> None:
    raised = sort_raised(error)
    assert raised.passing is None
    assert type(raised.own) is type(error)
    if isinstance(raised.own, BaseExceptionGroup):
        assert raised.own.exceptions == error.exceptions
    else:
        assert raised.own is error


async def test_ctrl_c_only_passes_through_a_handler() -> None:
    interrupt = KeyboardInterrupt()
    assert sort_raised(interrupt).passing is interrupt
    assert sort_raised(interrupt).own is None


async def test_ctrl_c_is_taken_out_of_a_group_of_the_handlers_own() -> None:
    interrupt, mistake = KeyboardInterrupt(), ValueError("its own")
    raised = sort_raised(BaseExceptionGroup("both", [interrupt, mistake]))
    assert isinstance(raised.own, ExceptionGroup)
    assert raised.own.exceptions == (mistake,)
    assert isinstance(raised.passing, BaseExceptionGroup)
    assert raised.passing.exceptions == (interrupt,)


async def a_cancelled() -> trio.Cancelled:
    """One that a handler has kept from a scope of its own."""
    with trio.CancelScope() as scope:
        scope.cancel()
        try:
            await trio.lowlevel.checkpoint()
        except trio.Cancelled as kept:
            return kept
    raise AssertionError("it is always cancelled")


async def test_a_cancellation_passes_only_where_somebody_around_the_handler_is_cancelled() -> None:
    kept = await a_cancelled()
    assert sort_raised(kept).own is kept
    with trio.CancelScope() as outside:
        outside.cancel()
        raised = sort_raised(kept)
        await trio.lowlevel.checkpoint()
    assert raised.passing is kept
    assert raised.own is None


# In a queue as it is declared


@each_class
async def test_an_input_whose_decoder_raises_anything_is_that_attempts_crash_alone(
    error: BaseException,
) -> None:
    def decode(plain: Any) -> Any:
        if plain == "bad":
            raise error
        return plain

    @m25.queue("by_hand", input_to_json=str, input_decoder=decode)
    async def by_hand(value: str) -> str:
        return value

    store = testing.MemoryStore()
    async with testing.open(store) as m:
        m.add_queue(by_hand)
        for value in ("good", "bad"):
            await m.enqueue(by_hand, value)
        await m.start()
        await testing.drain(m)
    good, bad = store.rows()
    assert (good.status, good.output) == ("succeeded", '"good"')
    assert (bad.status, bad.failure_reason) == ("failed", "crash")
