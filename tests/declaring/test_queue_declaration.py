"""What can be declared as a queue; and that all else is refused then, with name and place."""

from __future__ import annotations

import functools
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import attrs
import pytest

import m25
from m25 import Queue
from m25.errors import InvalidQueue

if TYPE_CHECKING:
    from decimal import Decimal


@attrs.frozen
class Email:
    to: str


@attrs.frozen
class Full(Exception):
    size: int


async def send(email: Email) -> int:
    return len(email.to)


@asynccontextmanager
async def connection() -> AsyncIterator[str]:
    yield "connection"


def refusal(handler=send, **options) -> str:
    """What the decorator says, which must be the same that the class says."""
    with pytest.raises(InvalidQueue) as by_hand:
        Queue("emails", handler_function=handler, **options)
    with pytest.raises(InvalidQueue) as decorated:
        m25.queue("emails", **options)(handler)
    message = str(decorated.value)
    if hasattr(handler, "__code__"):
        assert str(by_hand.value) == message
    assert message.startswith("queue 'emails': ")
    assert __file__ in message
    return message


def test_a_queue_is_declared_over_its_handler():
    @m25.queue("emails", errors=(Full,), max_concurrency=20, poll_interval=2.5)
    async def emails(email: Email) -> int:
        return 1

    assert isinstance(emails, Queue)
    assert emails.name == "emails"
    assert emails.errors == (Full,)
    assert emails.max_concurrency == 20
    assert emails.poll_interval == timedelta(seconds=2.5)
    assert emails.input_codec.decode('{"to": "a"}') == Email("a")
    assert emails.output_codec.encode(3, "output") == "3"
    assert emails.error_codec.encode(Full(3), "error") == '{"type":"Full","fields":{"size":3}}'


def test_a_queue_made_by_hand_has_the_defaults_of_the_contract():
    queue = Queue("emails", handler_function=send)
    assert queue.max_concurrency == 10
    assert queue.default_job_timeout == timedelta(minutes=5)
    assert queue.poll_interval == timedelta(seconds=5)
    assert queue.heartbeat_interval == timedelta(seconds=5)
    assert queue.allowed_heartbeat_misses == 3
    assert queue.executor_init_timeout == timedelta(seconds=5)
    assert queue.reserved_timeout == timedelta(seconds=30)
    assert queue.allowed_losses == 3
    assert queue.errors == ()
    assert queue.setup is None


class Service:
    async def handle(self, email: Email) -> int:
        return 1

    @classmethod
    async def of_class(cls, email: Email) -> int:
        return 1

    @staticmethod
    async def static(email: Email) -> int:
        return 1

    async def __call__(self, email: Email) -> int:
        return 1


async def with_options(email: Email, *, retries: int = 3, **more: object) -> int:
    return 1


async def of_two(client: str, email: Email) -> int:
    return 1


async def named(email: Email, client: str) -> int:
    return 1


@functools.wraps(send)
async def wrapping(*args, **kwargs):
    return await send(*args, **kwargs)


async def by_place(email: Email, /) -> int:
    return 1


@pytest.mark.parametrize(
    "handler",
    [
        Service().handle,
        Service.of_class,
        Service.static,
        Service(),
        with_options,
        functools.partial(of_two, "client"),
        functools.partial(functools.partial(of_two), "client"),
        functools.partial(named, client="client"),
        functools.partial(Service()),
        wrapping,
        by_place,
    ],
    ids=range(11),
)
def test_a_handler_may_be_any_async_callable_of_one_argument(handler):
    queue = Queue("emails", handler_function=handler)
    assert queue.input_codec.decode('{"to": "a"}') == Email("a")
    assert queue.output_codec.encode(1, "output") == "1"


def test_a_handler_with_setup_takes_two_arguments():
    @m25.queue("emails", setup=connection)
    async def emails(email: Email, resource: str) -> None: ...

    @m25.queue("emails", setup=functools.partial(connection))
    async def any_number(email: Email, *rest: str) -> None: ...

    assert emails.setup is connection
    assert "called with 2 arguments (input, what setup yields), and takes (email)" in refusal(
        setup=connection
    )


async def without_annotation(email) -> int:
    return 1


async def without_return(email: Email):
    return 1


async def unresolvable(email: Nowhere) -> int:  # noqa: F821
    return 1


async def only_for_checkers(email: Decimal) -> int:
    return 1


async def unsupported(email: complex) -> int:
    return 1


async def unsupported_output(email: Email) -> set[Service]:
    return set()


async def of_none() -> int:
    return 1


async def of_many(email: Email, other: int) -> int:
    return 1


async def keyword_only(*, email: Email) -> int:
    return 1


async def wanting(email: Email, *, client: str) -> int:
    return 1


async def variadic(*emails: Email) -> int:
    return 1


def blocking(email: Email) -> int:
    return 1


async def generating(email: Email):
    yield 1


@pytest.mark.parametrize(
    ("handler", "message"),
    [
        (without_annotation, "the parameter 'email' of the handler without_annotation ("),
        (without_return, "the handler without_return ("),
        (unresolvable, "cannot be resolved: name 'Nowhere' is not defined"),
        (only_for_checkers, "cannot be resolved: name 'Decimal' is not defined"),
        (unsupported, "complex cannot be carried as JSON"),
        (unsupported_output, "Service cannot be carried as JSON"),
        (of_none, "is called with 1 argument (input), and takes ()"),
        (of_many, "is called with 1 argument (input), and takes (email, other)"),
        (Service.handle, "is called with 1 argument (input), and takes (self, email)"),
        (keyword_only, "and takes (email)"),
        (wanting, "and takes (email, client)"),
        (variadic, "and takes (emails)"),
        (blocking, "must be an async function (`async def`); a blocking one can be run from it"),
        (generating, "must be an async function (`async def`); it has a `yield`"),
        (functools.partial(blocking), "must be an async function"),
        (Service, "must be an async function"),
        (None, "the handler must be an async function, not None"),
        (3, "the handler must be an async function, not 3"),
        (Queue("other", handler_function=send), "the handler is already a queue"),
    ],
    ids=lambda each: getattr(each, "__name__", None),
)
def test_a_handler_of_which_too_little_is_known_is_refused_with_its_place(handler, message):
    said = refusal(handler)
    assert message in said
    code = getattr(handler, "__code__", None)
    if code is not None:
        assert f"{__file__}:{code.co_firstlineno}" in said


DURATIONS = [
    "default_job_timeout",
    "poll_interval",
    "heartbeat_interval",
    "executor_init_timeout",
    "reserved_timeout",
]


@pytest.mark.parametrize("option", DURATIONS)
@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (0, "must be more than zero, not 0"),
        (-1, "must be more than zero, not -1"),
        (-math.inf, "must be finite"),
        (math.inf, "must be finite"),
        (math.nan, "must be finite, not nan"),
        (1e-9, "must be at least a microsecond"),
        (1e300, "must be more than zero, and at most 36525 days"),
        (10**5000, "must be more than zero, and at most 36525 days"),
        (-(10**5000), "must be more than zero, and at most 36525 days"),
        (timedelta(0), "must be more than zero"),
        (timedelta(days=-1), "must be more than zero"),
        (timedelta.max, "must be more than zero, and at most 36525 days"),
        (True, "must be seconds as a number, or a timedelta; not True"),
        ("5", "must be seconds as a number, or a timedelta; not '5'"),
        (None, "must be seconds as a number, or a timedelta; not None"),
    ],
    ids=range(15),
)
def test_a_duration_out_of_range_is_refused(option, value, reason):
    assert f"{option} {reason}" in refusal(**{option: value})


@pytest.mark.parametrize(
    ("option", "low", "high"),
    [
        ("max_concurrency", 1, 100_000),
        ("allowed_heartbeat_misses", 0, 1_000),
        ("allowed_losses", 0, 1_000_000),
    ],
)
def test_a_whole_number_out_of_range_is_refused(option, low, high):
    for value in (low, high):
        assert getattr(Queue("emails", handler_function=send, **{option: value}), option) == value
    for value in (low - 1, high + 1, -(10**5000)):
        assert f"{option} must be from {low} to {high}" in refusal(**{option: value})
    for value in (True, 1.0, "1", None, math.nan):
        assert f"{option} must be a whole number, not {value!r}" in refusal(**{option: value})


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "must not be empty"),
        ("a\0b", "must not hold the character NUL"),
        ("\ud800", "must not hold a lone surrogate"),
        ("é" * 501, "must be at most 1000 bytes long in UTF-8, and this one is 1002"),
        ("x" * 100_000, "must be at most 1000 bytes long"),
    ],
    ids=range(5),
)
def test_a_name_that_postgresql_cannot_keep_is_refused(name, reason):
    with pytest.raises(InvalidQueue) as by_hand:
        Queue(name, handler_function=send)
    with pytest.raises(InvalidQueue) as decorated:
        m25.queue(name)(send)
    assert str(by_hand.value) == str(decorated.value)
    assert f"a queue's name {reason}" in str(by_hand.value)
    assert __file__ in str(by_hand.value)
    assert len(str(by_hand.value)) < 500


@pytest.mark.parametrize("name", [None, 3, b"emails", ["emails"]])
def test_a_name_that_is_no_string_is_refused(name):
    with pytest.raises(InvalidQueue, match="a queue's name must be a string"):
        Queue(name, handler_function=send)
    with pytest.raises(InvalidQueue, match="takes the queue's name before it takes its handler"):
        m25.queue(name)


def test_a_decorator_without_its_parentheses_is_refused_at_once():
    with pytest.raises(InvalidQueue, match="takes the queue's name before it takes its handler"):

        @m25.queue
        async def emails(email: Email) -> None: ...


@pytest.mark.parametrize(
    ("errors", "reason"),
    [
        ([Full], "errors must be a tuple of exception classes"),
        (Full, "errors must be a tuple of exception classes"),
        (None, "errors must be a tuple of exception classes"),
        ((Full(1),), "errors must hold subclasses of Exception"),
        ((int,), "errors must hold subclasses of Exception"),
        (("Full",), "errors must hold subclasses of Exception"),
        ((KeyboardInterrupt,), "errors must hold subclasses of Exception"),
        ((Full, ValueError, Full), "errors holds Full twice"),
        ((Full, type("Full", (Exception,), {})), "two of the errors have the name 'Full'"),
        ((ExceptionGroup,), "ExceptionGroup is an exception group"),
    ],
    ids=range(10),
)
def test_what_is_no_set_of_exception_classes_is_refused(errors, reason):
    assert reason in refusal(errors=errors)


def plain_setup():
    return None


async def async_setup():
    return None


async def generating_setup():
    yield "resource"


@asynccontextmanager
async def demanding_setup(url: str) -> AsyncIterator[None]:
    yield


@pytest.mark.parametrize(
    ("setup", "reason"),
    [
        (3, "setup must be a function that returns an async context manager, not 3"),
        (connection(), "setup must be a function that returns an async context manager"),
        (async_setup, "setup must return an async context manager: decorate it"),
        (generating_setup, "setup must return an async context manager: decorate it"),
        (demanding_setup, "setup is called without arguments, and takes (url)"),
    ],
    ids=range(5),
)
def test_what_is_no_setup_is_refused(setup, reason):
    assert reason in refusal(of_many, setup=setup)


def test_an_executor_must_be_initialised_before_its_job_counts_as_stuck():
    for init in (30, 31):
        assert "must be shorter than reserved_timeout (0:00:30)" in refusal(
            of_many, setup=connection, executor_init_timeout=init
        )
    # Without a setup there is nothing to initialise.
    Queue("emails", handler_function=send, executor_init_timeout=31)


@pytest.mark.parametrize("what", ["input", "output", "error"])
def test_half_a_codec_is_refused(what):
    message = f"give both {what}_to_json and {what}_decoder, or neither"
    assert message in refusal(**{f"{what}_to_json": str})
    assert message in refusal(**{f"{what}_decoder": str})
    assert f"{what}_decoder must be a function, not 3" in refusal(
        **{f"{what}_to_json": str, f"{what}_decoder": 3}
    )


def test_with_codecs_by_hand_no_annotation_is_needed():
    async def handler(email):
        return email

    options = {"input_to_json": str, "input_decoder": int}
    options |= {"output_to_json": str, "output_decoder": int}
    options |= {"error_to_json": str, "error_decoder": ValueError}
    queue = Queue("emails", handler_function=handler, **options)
    assert queue.input_codec.decode(queue.input_codec.encode(3, "input")) == 3
    assert queue.error_codec.encode(ValueError("x"), "error") == '"x"'
    assert "and takes ()" in refusal(of_none, **options)


def test_types_made_inside_a_function_can_be_named():
    @attrs.frozen
    class Local:
        other: Other | None

    @attrs.frozen
    class Other:
        local: Local | None

    @attrs.frozen
    class Broken(Exception):
        where: Local

    @m25.queue("local", errors=(Broken,))
    async def handler(value: Local) -> list[Other]:
        return []

    value = Local(Other(Local(None)))
    assert handler.input_codec.decode(handler.input_codec.encode(value, "input")) == value
    assert handler.error_codec.encode(Broken(value), "error")

    def inner() -> Queue:
        @m25.queue("inner")
        async def closure(value: Local) -> type(None):
            assert isinstance(value, Local)

        return closure

    assert inner().input_codec.encode(value, "input")


def test_a_name_of_the_module_is_not_hidden_by_a_variable_of_the_function():
    Email = "not a type"  # noqa: N806, F841

    @m25.queue("emails")
    async def emails(email: Email) -> int:
        return 1

    assert emails.input_codec.decode('{"to": "a"}').to == "a"


def test_a_lambda_is_named_by_its_place():
    message = refusal(lambda email: email)
    assert "must be an async function" in message


def test_a_queue_cannot_be_changed():
    queue = Queue("emails", handler_function=send)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        queue.max_concurrency = 3


def test_an_unknown_option_is_an_error():
    with pytest.raises(TypeError, match="max_concurency"):
        m25.queue("emails", max_concurency=3)(send)
