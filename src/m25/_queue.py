"""A queue, as its user declares it: a name, a handler, and how its jobs are run.

By the decorator over the handler, or by hand:

    @m25.queue("emails", errors=(MailboxFull,), max_concurrency=20)
    async def emails(email: Email) -> Receipt: ...

    emails = m25.Queue("emails", handler_function=send, errors=(MailboxFull,), max_concurrency=20)
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager
from datetime import timedelta
from typing import Any, Final, Generic, Never, TypedDict, TypeVar, Unpack, cast, overload

import attrs

from ._codec import Codec, error_codec, value_codec
from ._duration import Duration, as_timedelta
from ._errors import InvalidQueue
from ._job import Error, Input, Output, check_text
from ._signature import (
    described,
    function_of,
    hints_of,
    input_parameter,
    is_required,
    names_around,
    place_of,
)

Resource = TypeVar("Resource")

#: What `setup` is: called for each job, entered before its handler, left after it.
Setup = Callable[[], AbstractAsyncContextManager[Resource]]

#: A longer name does not fit into a PostgreSQL index entry beside the rest of it.
_LONGEST_NAME: Final = 1_000


def _seconds(value: Duration) -> timedelta:
    """Read a duration; what is none is left to its validator, which knows the queue's name."""
    try:
        return as_timedelta(value, "", InvalidQueue)
    except InvalidQueue:
        return cast("timedelta", value)


def _check_duration(name: str, value: object) -> None:
    as_timedelta(value, name, InvalidQueue)


def _whole(low: int, high: int) -> Callable[[str, object], None]:
    def check(name: str, value: object) -> None:
        if not isinstance(value, int) or isinstance(value, bool):
            raise InvalidQueue(f"{name} must be a whole number, not {value!r:.80}")
        if not low <= value <= high:
            raise InvalidQueue(f"{name} must be from {low} to {high}")

    return check


def _check_name(_: str, value: object) -> None:
    name = check_text(value, "a queue's name", InvalidQueue)
    if len(name.encode()) > _LONGEST_NAME:
        raise InvalidQueue(
            f"a queue's name must be at most {_LONGEST_NAME} bytes long in UTF-8, and this one is "
            f"{len(name.encode())}"
        )


def _check_handler(_: str, value: object) -> None:
    if isinstance(value, Queue):
        raise InvalidQueue("the handler is already a queue; give it the queue's handler_function")
    if not callable(value):
        raise InvalidQueue(f"the handler must be an async function, not {value!r:.80}")
    function = function_of(value)
    if isinstance(function, type) or not (
        inspect.iscoroutinefunction(function)
        or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004
    ):
        hint = (
            "; it has a `yield`, and a handler returns its output"
            if inspect.isasyncgenfunction(function)
            else "; a blocking one can be run from it with trio.to_thread.run_sync"
        )
        raise InvalidQueue(f"the handler must be an async function (`async def`){hint}")


def _check_errors(_: str, value: object) -> None:
    if not isinstance(value, tuple):
        raise InvalidQueue(f"errors must be a tuple of exception classes, not {value!r:.80}")
    seen: set[object] = set()
    for error in cast("tuple[object, ...]", value):
        if not (isinstance(error, type) and issubclass(error, Exception)):
            raise InvalidQueue(f"errors must hold subclasses of Exception, not {error!r:.80}")
        if error in seen:
            raise InvalidQueue(f"errors holds {error.__name__} twice")
        seen.add(error)


def _check_setup(_: str, value: object) -> None:
    if value is None:
        return
    # One that contextlib made can be called, too, as a decorator.
    if not callable(value) or isinstance(value, AbstractAsyncContextManager):
        raise InvalidQueue(
            f"setup must be a function that returns an async context manager, not {value!r:.80}"
        )
    function = function_of(value)
    if inspect.isasyncgenfunction(function) or inspect.iscoroutinefunction(function):
        raise InvalidQueue(
            "setup must return an async context manager: decorate it with "
            "@contextlib.asynccontextmanager, and let it yield once"
        )
    try:
        parameters = inspect.signature(value).parameters.values()
    except (TypeError, ValueError):
        return
    if required := [each.name for each in parameters if is_required(each)]:
        raise InvalidQueue(
            f"setup is called without arguments, and takes ({', '.join(required)}); a partial or "
            "a closure can bring them"
        )


def _check_callable(name: str, value: object) -> None:
    if value is not None and not callable(value):
        raise InvalidQueue(f"{name} must be a function, not {value!r:.80}")


def _check(
    check: Callable[[str, object], None],
) -> Callable[[Queue[Any, Any, Any], attrs.Attribute[Any], Any], None]:
    """A validator; what it raises names the queue, and the place where it is declared."""

    def validate(queue: Queue[Any, Any, Any], field: attrs.Attribute[Any], value: Any) -> None:
        with _naming(queue):
            check(field.name, value)

    return validate


_DURATION: Final = _check(_check_duration)
_FUNCTION: Final = _check(_check_callable)


@contextmanager
def _naming(queue: Queue[Any, Any, Any]) -> Generator[None]:
    try:
        yield
    except InvalidQueue as error:
        place = place_of(queue.handler_function)
        message = str(error) if place in str(error) else f"{error} (at {place})"
        raise InvalidQueue(f"queue {queue.name!r:.80}: {message}") from error.__cause__


def _input_codec(queue: Queue[Any, Any, Any], names: Mapping[str, Any]) -> Codec[Any]:
    handler = queue.handler_function
    first = input_parameter(handler, has_setup=queue.setup is not None)
    by_hand = _by_hand(queue.input_to_json, queue.input_decoder, "input")
    if by_hand is not None:
        return by_hand
    hints = hints_of(handler, names)
    if first not in hints:
        raise InvalidQueue(
            f"the parameter {first!r} of the handler {described(handler)} needs an annotation, "
            "which says how its input is kept as JSON; or give input_to_json and input_decoder"
        )
    return value_codec(hints[first], f"the input of {described(handler)}", names)


def _output_codec(queue: Queue[Any, Any, Any], names: Mapping[str, Any]) -> Codec[Any]:
    handler = queue.handler_function
    by_hand = _by_hand(queue.output_to_json, queue.output_decoder, "output")
    if by_hand is not None:
        return by_hand
    hints = hints_of(handler, names)
    if "return" not in hints:
        raise InvalidQueue(
            f"the handler {described(handler)} needs a return annotation, which says how its "
            "output is kept as JSON; or give output_to_json and output_decoder"
        )
    return value_codec(hints["return"], f"the output of {described(handler)}", names)


def _error_codec(queue: Queue[Any, Any, Any], names: Mapping[str, Any]) -> Codec[Any]:
    by_hand = _by_hand(queue.error_to_json, queue.error_decoder, "error")
    if by_hand is not None:
        return by_hand
    return error_codec(queue.errors, f"the errors of {described(queue.handler_function)}", names)


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
    name: str = attrs.field(validator=_check(_check_name))
    #: Turns an input into an output, or raises one of `errors`. With `setup`, its second argument
    #: is what that yields.
    handler_function: (
        Callable[[Input], Awaitable[Output]] | Callable[[Input, Any], Awaitable[Output]]
    ) = attrs.field(kw_only=True, validator=_check(_check_handler))
    #: The declared errors: exception classes whose instances are kept in `error_data` and come back
    #: equal. Anything else that is raised is a crash.
    errors: tuple[type[Error], ...] = attrs.field(
        default=(), kw_only=True, validator=_check(_check_errors)
    )
    #: How many jobs run at once, in this process; the cluster has no limit.
    max_concurrency: int = attrs.field(
        default=10, kw_only=True, validator=_check(_whole(1, 100_000))
    )
    #: How long a handler may run, where its job does not say.
    default_job_timeout: timedelta = attrs.field(
        default=timedelta(minutes=5),
        kw_only=True,
        converter=_seconds,
        validator=_DURATION,
    )
    #: How often the manager looks for work when nothing woke it.
    poll_interval: timedelta = attrs.field(
        default=timedelta(seconds=5),
        kw_only=True,
        converter=_seconds,
        validator=_DURATION,
    )
    #: How often the manager sends a heartbeat to each executor.
    heartbeat_interval: timedelta = attrs.field(
        default=timedelta(seconds=5),
        kw_only=True,
        converter=_seconds,
        validator=_DURATION,
    )
    #: How many heartbeats in a row may go unanswered before the attempt has failed.
    allowed_heartbeat_misses: int = attrs.field(
        default=3, kw_only=True, validator=_check(_whole(0, 1_000))
    )
    #: How long an executor may take over `setup` before its job goes back to pending.
    executor_init_timeout: timedelta = attrs.field(
        default=timedelta(seconds=5),
        kw_only=True,
        converter=_seconds,
        validator=_DURATION,
    )
    #: How long a row may stay reserved before it goes back to pending.
    reserved_timeout: timedelta = attrs.field(
        default=timedelta(seconds=30),
        kw_only=True,
        converter=_seconds,
        validator=_DURATION,
    )
    #: How many attempts of a chain may be lost with their process and not be counted.
    allowed_losses: int = attrs.field(
        default=3, kw_only=True, validator=_check(_whole(0, 1_000_000))
    )
    #: How many bytes an input, an output or an error may take as JSON: what is larger is refused,
    #: or ends its attempt as a crash. What is in the table already is read whatever its size.
    size_limit: int = attrs.field(
        default=1_048_576, kw_only=True, validator=_check(_whole(1, 255_000_000))
    )
    #: An async context manager that each executor enters before its job counts as started; what it
    #: yields is the handler's second argument.
    setup: Setup[Any] | None = attrs.field(
        default=None,
        kw_only=True,
        validator=_check(_check_setup),
    )
    #: From an input to what `json.dumps` takes; with `input_decoder` it replaces the codec that is
    #: otherwise made from the handler's annotations. The same holds for the other four.
    input_to_json: Callable[[Input], Any] | None = attrs.field(
        default=None, kw_only=True, validator=_FUNCTION
    )
    #: From what `json.loads` returns to an input.
    input_decoder: Callable[[Any], Input] | None = attrs.field(
        default=None, kw_only=True, validator=_FUNCTION
    )
    output_to_json: Callable[[Output], Any] | None = attrs.field(
        default=None, kw_only=True, validator=_FUNCTION
    )
    output_decoder: Callable[[Any], Output] | None = attrs.field(
        default=None, kw_only=True, validator=_FUNCTION
    )
    error_to_json: Callable[[Error], Any] | None = attrs.field(
        default=None, kw_only=True, validator=_FUNCTION
    )
    error_decoder: Callable[[Any], Error] | None = attrs.field(
        default=None, kw_only=True, validator=_FUNCTION
    )

    input_codec: Codec[Input] = attrs.field(init=False, repr=False)
    output_codec: Codec[Output] = attrs.field(init=False, repr=False)
    error_codec: Codec[Error] = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        with _naming(self):
            if self.setup is not None and self.executor_init_timeout >= self.reserved_timeout:
                raise InvalidQueue(
                    f"executor_init_timeout ({self.executor_init_timeout}) must be shorter than "
                    f"reserved_timeout ({self.reserved_timeout}): a job whose executor is still "
                    "initialising must not be taken for stuck"
                )
            names = names_around(self.handler_function)
            # Here and not as defaults: those are made before anything is validated.
            self._set_codec("input_codec", _input_codec(self, names))
            self._set_codec("output_codec", _output_codec(self, names))
            self._set_codec("error_codec", _error_codec(self, names))

    def _set_codec(self, name: str, codec: Codec[Any]) -> None:
        object.__setattr__(self, name, attrs.evolve(codec, size_limit=self.size_limit))

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
    size_limit: int
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
    return Queue(name, handler_function=handler, errors=errors, setup=setup, **options)


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
    errors: tuple[type[E1], type[E2], type[E3]],
    setup: Setup[Resource],
    **options: Unpack[QueueOptions],
) -> DeclarationWithSetup[Resource, E1 | E2 | E3]: ...
@overload
def queue(
    name: str,
    *,
    errors: tuple[type[E1], type[E2], type[E3], type[E4]],
    setup: Setup[Resource],
    **options: Unpack[QueueOptions],
) -> DeclarationWithSetup[Resource, E1 | E2 | E3 | E4]: ...
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
    if not isinstance(name, str):
        raise InvalidQueue(
            "@m25.queue takes the queue's name before it takes its handler, as in "
            f'@m25.queue("emails"); not {name!r:.80}'
        )
    if setup is None:
        return Declaration(name, errors, options)
    return DeclarationWithSetup(name, errors, setup, options)
