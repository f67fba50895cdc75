"""A queue, as its user declares it: a name, a handler, and how its jobs are run.

By the decorator over the handler, or by hand:

    @m25.queue("emails", errors=(MailboxFull,), max_concurrency=20)
    async def emails(email: Email) -> Receipt: ...

    emails = m25.Queue("emails", handler_function=send, errors=(MailboxFull,), max_concurrency=20)
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import typing
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Any, Final, Generic, Never, TypedDict, TypeVar, Unpack, overload

import attrs

from ._codec import Codec, error_codec, value_codec
from ._duration import Duration, as_timedelta
from ._errors import InvalidQueue
from ._job import Error, Input, Output, check_text

Resource = TypeVar("Resource")

#: What `setup` is: called for each job, entered before its handler, left after it.
Setup = Callable[[], AbstractAsyncContextManager[Resource]]

#: A longer name does not fit into a PostgreSQL index entry beside the rest of it.
_LONGEST_NAME: Final = 1_000


def _duration(name: str) -> Callable[[Duration], timedelta]:
    def convert(value: Duration) -> timedelta:
        return as_timedelta(value, name, InvalidQueue)

    return convert


def _whole(low: int, high: int) -> Callable[[object, attrs.Attribute[Any], Any], None]:
    def check(_queue: object, field: attrs.Attribute[Any], value: Any) -> None:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise InvalidQueue(
                f"{field.name} must be a whole number from {low} to {high}, not {value!r}"
            )

    return check


def _check_name(_queue: object, _field: object, value: Any) -> None:
    check_text(value, "a queue's name", InvalidQueue)
    if len(value.encode()) > _LONGEST_NAME:
        raise InvalidQueue(
            f"a queue's name must be at most {_LONGEST_NAME} bytes long in UTF-8, "
            f"and {value[:40]!r}… is longer"
        )


def _check_handler(_queue: object, _field: object, value: Any) -> None:
    if not callable(value):
        raise InvalidQueue(f"handler_function must be an async function, not {value!r}")
    function = value
    while isinstance(function, functools.partial):
        function = function.func
    if not (
        inspect.iscoroutinefunction(function)
        or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004
    ):
        raise InvalidQueue(
            f"the handler {_describe(value)} must be an async function; a blocking one can be run "
            "from it with trio.to_thread.run_sync"
        )


def _check_errors(_queue: object, _field: object, value: Any) -> None:
    if not isinstance(value, tuple):
        raise InvalidQueue(f"errors must be a tuple of exception classes, not {value!r}")
    for error in value:
        if not (isinstance(error, type) and issubclass(error, Exception)):
            raise InvalidQueue(f"errors must hold exception classes, not {error!r}")


def _describe(handler: Any) -> str:
    """Name a handler and where it is written."""
    function = handler
    while isinstance(function, functools.partial):
        function = function.func
    function = inspect.unwrap(function)
    name = getattr(function, "__qualname__", None) or repr(handler)
    code = getattr(function, "__code__", None)
    return f"{name} ({code.co_filename}:{code.co_firstlineno})" if code else name


def _hints(handler: Any) -> dict[str, Any]:
    function = handler
    while isinstance(function, functools.partial):
        function = function.func
    if not inspect.isroutine(function):
        function = type(function).__call__
    function = inspect.unwrap(function)
    try:
        # A type that only the enclosing function knows is found where the handler closes over it.
        return typing.get_type_hints(function, localns=_enclosed(function), include_extras=True)
    except NameError as error:
        raise InvalidQueue(
            f"an annotation of the handler {_describe(handler)} cannot be resolved: {error}; "
            "declare the type at the top of its module"
        ) from error


def _enclosed(function: Any) -> dict[str, Any]:
    """What a function closes over, as far as it has a value yet."""
    enclosed: dict[str, Any] = {}
    code, cells = getattr(function, "__code__", None), getattr(function, "__closure__", None)
    for name, cell in zip(code.co_freevars if code else (), cells or (), strict=False):
        with contextlib.suppress(ValueError):
            enclosed[name] = cell.cell_contents
    return enclosed


def _input_annotation(handler: Any, *, has_setup: bool) -> Any:
    """The annotation of the parameter that takes the input.

    Raises:
        InvalidQueue: it has none, or the handler takes other parameters than it will be given.
    """
    parameters = list(inspect.signature(handler).parameters.values())
    given = ["input", "what setup yields"] if has_setup else ["input"]
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required = [
        p
        for p in parameters
        if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    if len(positional) < len(given) or len(required) > len(given):
        raise InvalidQueue(
            f"the handler {_describe(handler)} is called with {len(given)} "
            f"argument{'s' if has_setup else ''} ({', '.join(given)}), and takes "
            f"({', '.join(p.name for p in parameters)})"
        )
    first = positional[0].name
    hints = _hints(handler)
    if first not in hints:
        raise InvalidQueue(
            f"the parameter {first!r} of the handler {_describe(handler)} needs an annotation, "
            "which says how its input is kept as JSON; or give input_to_json and input_decoder"
        )
    return hints[first]


def _output_annotation(handler: Any) -> Any:
    hints = _hints(handler)
    if "return" not in hints:
        raise InvalidQueue(
            f"the handler {_describe(handler)} needs a return annotation, which says how its "
            "output is kept as JSON; or give output_to_json and output_decoder"
        )
    return hints["return"]


def _by_hand(
    to_json: Callable[[Any], Any] | None, decoder: Callable[[Any], Any] | None, what: str
) -> Codec[Any] | None:
    if to_json is None and decoder is None:
        return None
    if to_json is None or decoder is None:
        raise InvalidQueue(f"give both {what}_to_json and {what}_decoder, or neither")
    return Codec(to_json, decoder)


@attrs.frozen(eq=False)
class Queue(Generic[Input, Output, Error]):
    """A queue of jobs: their name, their handler, and how they are run.

    The options and their meaning are the original's. Durations are seconds, or a `timedelta`.

    Raises:
        InvalidQueue: an option is out of range, or what the handler takes and returns cannot be
            decided from its annotations. It is raised here, never later.
    """

    #: Unique within one client; in the database, what ties jobs to their queue.
    name: str = attrs.field(validator=_check_name)
    #: Turns an input into an output, or raises one of `errors`. With `setup`, its second argument
    #: is what that yields.
    handler_function: (
        Callable[[Input], Awaitable[Output]] | Callable[[Input, Any], Awaitable[Output]]
    ) = attrs.field(kw_only=True, validator=_check_handler)
    #: The declared errors: exception classes whose instances are kept in `error_data` and come back
    #: equal. Anything else that is raised is a crash.
    errors: tuple[type[Error], ...] = attrs.field(default=(), kw_only=True, validator=_check_errors)
    #: How many jobs run at once, in this process; the cluster has no limit.
    max_concurrency: int = attrs.field(default=10, kw_only=True, validator=_whole(1, 100_000))
    #: How long a handler may run, where its job does not say.
    default_job_timeout: timedelta = attrs.field(
        default=timedelta(minutes=5), kw_only=True, converter=_duration("default_job_timeout")
    )
    #: How often the manager looks for work when nothing woke it.
    poll_interval: timedelta = attrs.field(
        default=timedelta(seconds=5), kw_only=True, converter=_duration("poll_interval")
    )
    #: How often the manager sends a heartbeat to each executor.
    heartbeat_interval: timedelta = attrs.field(
        default=timedelta(seconds=5), kw_only=True, converter=_duration("heartbeat_interval")
    )
    #: How many heartbeats in a row may go unanswered before the attempt has failed.
    allowed_heartbeat_misses: int = attrs.field(default=3, kw_only=True, validator=_whole(0, 1_000))
    #: How long an executor may take over `setup` before its job goes back to pending.
    executor_init_timeout: timedelta = attrs.field(
        default=timedelta(seconds=5), kw_only=True, converter=_duration("executor_init_timeout")
    )
    #: How long a row may stay reserved before it goes back to pending.
    reserved_timeout: timedelta = attrs.field(
        default=timedelta(seconds=30), kw_only=True, converter=_duration("reserved_timeout")
    )
    #: How many attempts of a chain may be lost with their process and not be counted.
    allowed_losses: int = attrs.field(default=3, kw_only=True, validator=_whole(0, 1_000_000))
    #: An async context manager that each executor enters before its job counts as started; what it
    #: yields is the handler's second argument.
    setup: Setup[Any] | None = attrs.field(
        default=None,
        kw_only=True,
        validator=attrs.validators.optional(attrs.validators.is_callable()),
    )
    #: From an input to what `json.dumps` takes; with `input_decoder` it replaces the codec that is
    #: otherwise made from the handler's annotations. The same holds for the other four.
    input_to_json: Callable[[Input], Any] | None = attrs.field(default=None, kw_only=True)
    #: From what `json.loads` returns to an input.
    input_decoder: Callable[[Any], Input] | None = attrs.field(default=None, kw_only=True)
    output_to_json: Callable[[Output], Any] | None = attrs.field(default=None, kw_only=True)
    output_decoder: Callable[[Any], Output] | None = attrs.field(default=None, kw_only=True)
    error_to_json: Callable[[Error], Any] | None = attrs.field(default=None, kw_only=True)
    error_decoder: Callable[[Any], Error] | None = attrs.field(default=None, kw_only=True)

    input_codec: Codec[Input] = attrs.field(init=False, repr=False)
    output_codec: Codec[Output] = attrs.field(init=False, repr=False)
    error_codec: Codec[Error] = attrs.field(init=False, repr=False)

    @input_codec.default
    def _default_input_codec(self) -> Codec[Input]:
        by_hand = _by_hand(self.input_to_json, self.input_decoder, "input")
        if by_hand is not None:
            return by_hand
        annotation = _input_annotation(self.handler_function, has_setup=self.setup is not None)
        return value_codec(annotation, f"the input of {_describe(self.handler_function)}")

    @output_codec.default
    def _default_output_codec(self) -> Codec[Output]:
        by_hand = _by_hand(self.output_to_json, self.output_decoder, "output")
        if by_hand is not None:
            return by_hand
        annotation = _output_annotation(self.handler_function)
        return value_codec(annotation, f"the output of {_describe(self.handler_function)}")

    @error_codec.default
    def _default_error_codec(self) -> Codec[Any]:
        by_hand = _by_hand(self.error_to_json, self.error_decoder, "error")
        if by_hand is not None:
            return by_hand
        return error_codec(self.errors, f"the errors of {_describe(self.handler_function)}")

    def __attrs_post_init__(self) -> None:
        if self.setup is not None and self.executor_init_timeout >= self.reserved_timeout:
            raise InvalidQueue(
                f"executor_init_timeout ({self.executor_init_timeout}) must be shorter than "
                f"reserved_timeout ({self.reserved_timeout}): a job whose executor is still "
                "initialising must not be taken for stuck"
            )

    @property
    def lease(self) -> timedelta:
        """How long after its latest heartbeat an attempt is taken for lost."""
        return self.heartbeat_interval * (self.allowed_heartbeat_misses + 1)


class QueueOptions(TypedDict, total=False):
    """The options of `Queue` that `@queue` takes as they are."""

    max_concurrency: int
    default_job_timeout: Duration
    poll_interval: Duration
    heartbeat_interval: Duration
    allowed_heartbeat_misses: int
    executor_init_timeout: Duration
    reserved_timeout: Duration
    allowed_losses: int
    input_to_json: Callable[[Any], Any]
    input_decoder: Callable[[Any], Any]
    output_to_json: Callable[[Any], Any]
    output_decoder: Callable[[Any], Any]
    error_to_json: Callable[[Any], Any]
    error_decoder: Callable[[Any], Any]


@attrs.frozen
class Declaration(Generic[Error]):
    """What `@queue(...)` returns: called with the handler, it returns the queue."""

    name: str
    errors: tuple[type[Error], ...]
    options: QueueOptions

    def __call__(
        self, handler: Callable[[Input], Awaitable[Output]], /
    ) -> Queue[Input, Output, Error]:
        return _declare(self.name, handler, self.errors, None, self.options)


@attrs.frozen
class DeclarationWithSetup(Generic[Resource, Error]):
    """What `@queue(..., setup=...)` returns: called with the handler, it returns the queue."""

    name: str
    errors: tuple[type[Error], ...]
    setup: Setup[Resource]
    options: QueueOptions

    def __call__(
        self, handler: Callable[[Input, Resource], Awaitable[Output]], /
    ) -> Queue[Input, Output, Error]:
        return _declare(self.name, handler, self.errors, self.setup, self.options)


def _declare(
    name: str,
    handler: Any,
    errors: tuple[type[Error], ...],
    setup: Setup[Any] | None,
    options: QueueOptions,
) -> Queue[Any, Any, Error]:
    try:
        return Queue(name, handler_function=handler, errors=errors, setup=setup, **options)
    except InvalidQueue as error:
        place = _describe(handler)
        message = str(error) if place in str(error) else f"{error} (at {place})"
        raise InvalidQueue(f"queue {name!r}: {message}") from error.__cause__


E1 = TypeVar("E1", bound=Exception)
E2 = TypeVar("E2", bound=Exception)
E3 = TypeVar("E3", bound=Exception)
E4 = TypeVar("E4", bound=Exception)


# One overload a number of errors: a type checker joins the members of a tuple of any length to
# their common base, which for exceptions is `Exception`.
@overload
def queue(
    name: str, *, errors: tuple[()] = ..., setup: None = ..., **options: Unpack[QueueOptions]
) -> Declaration[Never]: ...
@overload
def queue(
    name: str, *, errors: tuple[type[E1]], setup: None = ..., **options: Unpack[QueueOptions]
) -> Declaration[E1]: ...
@overload
def queue(
    name: str,
    *,
    errors: tuple[type[E1], type[E2]],
    setup: None = ...,
    **options: Unpack[QueueOptions],
) -> Declaration[E1 | E2]: ...
@overload
def queue(
    name: str,
    *,
    errors: tuple[type[E1], type[E2], type[E3]],
    setup: None = ...,
    **options: Unpack[QueueOptions],
) -> Declaration[E1 | E2 | E3]: ...
@overload
def queue(
    name: str,
    *,
    errors: tuple[type[E1], type[E2], type[E3], type[E4]],
    setup: None = ...,
    **options: Unpack[QueueOptions],
) -> Declaration[E1 | E2 | E3 | E4]: ...
@overload
def queue(
    name: str, *, errors: tuple[type[E1], ...], setup: None = ..., **options: Unpack[QueueOptions]
) -> Declaration[E1]: ...
@overload
def queue(
    name: str,
    *,
    errors: tuple[()] = ...,
    setup: Setup[Resource],
    **options: Unpack[QueueOptions],
) -> DeclarationWithSetup[Resource, Never]: ...
@overload
def queue(
    name: str,
    *,
    errors: tuple[type[E1]],
    setup: Setup[Resource],
    **options: Unpack[QueueOptions],
) -> DeclarationWithSetup[Resource, E1]: ...
@overload
def queue(
    name: str,
    *,
    errors: tuple[type[E1], type[E2]],
    setup: Setup[Resource],
    **options: Unpack[QueueOptions],
) -> DeclarationWithSetup[Resource, E1 | E2]: ...
@overload
def queue(
    name: str,
    *,
    errors: tuple[type[E1], ...],
    setup: Setup[Resource],
    **options: Unpack[QueueOptions],
) -> DeclarationWithSetup[Resource, E1]: ...
def queue(
    name: str,
    *,
    errors: tuple[type[Exception], ...] = (),
    setup: Setup[Any] | None = None,
    **options: Unpack[QueueOptions],
) -> Declaration[Any] | DeclarationWithSetup[Any, Any]:
    """Declare the decorated `async def` as the handler of a queue, and return the `Queue`.

    Input and output types are those of its annotations; `errors` are the declared errors, and
    `options` those of `Queue`.

    Raises:
        InvalidQueue: as `Queue` does, with the handler's file and line.
    """
    if setup is None:
        return Declaration(name, errors, options)
    return DeclarationWithSetup(name, errors, setup, options)
