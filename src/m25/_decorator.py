"""`@queue(...)`: declares the queue of the handler below it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, Generic, Never, TypedDict, TypeVar, Unpack, overload

import attrs

from ._duration import Duration
from ._errors import InvalidQueue
from ._job import Error, FailedJob, Input, Output
from ._keep import Keep
from ._limits import Limit, Rate
from ._queue import Lifespan, Queue, Runs, Setup
from ._queue_checks import check_options
from ._retry import Retry, RetryFunction


class QueueOptions(TypedDict, total=False):
    """The options of `Queue` that `@queue` takes as they are."""

    max_concurrency: int
    default_job_timeout: Duration
    poll_interval: Duration
    heartbeat_interval: Duration
    allowed_heartbeat_misses: int
    executor_init_timeout: Duration
    reserved_timeout: Duration
    cancel_grace: Duration
    allowed_losses: int
    retry: Retry | RetryFunction | None
    on_failure: Queue[FailedJob, Any, Any] | None
    max_setup_failures: int
    size_limit: int
    setup: Setup[Any] | None
    lifespan: Lifespan | None
    runs: Runs
    exclusive: bool
    limit: Limit | None
    keep: Keep | None
    rate: Rate | None
    transactional: bool
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

    @overload
    def __call__(
        self, handler: Callable[Concatenate[Input, ...], Coroutine[Any, Any, Output]], /
    ) -> Queue[Input, Output, Error]: ...
    @overload
    def __call__(
        self, handler: Callable[Concatenate[Input, ...], Output], /
    ) -> Queue[Input, Output, Error]: ...
    def __call__(self, handler: Callable[Concatenate[Any, ...], Any], /) -> Queue[Any, Any, Error]:
        return Queue(self.name, handler_function=handler, errors=self.errors, **self.options)


E1 = TypeVar("E1", bound=Exception)
E2 = TypeVar("E2", bound=Exception)
E3 = TypeVar("E3", bound=Exception)
E4 = TypeVar("E4", bound=Exception)


# One overload for each number of errors: of a tuple of any length, a type checker joins the members
# to their common base, and then knows no more of an error than that it is an `Exception`.
@overload
def queue(
    name: str, *, errors: tuple[()] = ..., **options: Unpack[QueueOptions]
) -> Declaration[Never]: ...
@overload
def queue(
    name: str, *, errors: tuple[type[E1]], **options: Unpack[QueueOptions]
) -> Declaration[E1]: ...
@overload
def queue(
    name: str, *, errors: tuple[type[E1], type[E2]], **options: Unpack[QueueOptions]
) -> Declaration[E1 | E2]: ...
@overload
def queue(
    name: str, *, errors: tuple[type[E1], type[E2], type[E3]], **options: Unpack[QueueOptions]
) -> Declaration[E1 | E2 | E3]: ...
@overload
def queue(
    name: str,
    *,
    errors: tuple[type[E1], type[E2], type[E3], type[E4]],
    **options: Unpack[QueueOptions],
) -> Declaration[E1 | E2 | E3 | E4]: ...
@overload
def queue(
    name: str, *, errors: tuple[type[E1], ...], **options: Unpack[QueueOptions]
) -> Declaration[E1]: ...
def queue(
    name: str, *, errors: tuple[type[Exception], ...] = (), **options: Unpack[QueueOptions]
) -> Declaration[Any]:
    """Declare the decorated function as the handler of a queue, and return the `Queue`.

    Input and output types are those of its annotations; `errors` are the declared errors, and
    `options` those of `Queue`. It is an `async def`, or with `runs="thread"` or `"process"` a plain
    `def`. What `setup` and `lifespan` yield is not checked against its parameters by type.

    Raises:
        InvalidQueue: as `Queue` does, with the handler's file and line.
        TypeError: there is no such option.
    """
    if not isinstance(name, str):
        raise InvalidQueue(
            "@m25.queue takes the queue's name before it takes its handler, as in "
            f'@m25.queue("emails"); not {name!r:.80}'
        )
    check_options(name, options, {*QueueOptions.__annotations__, "errors"})
    return Declaration(name, errors, options)
