"""`@queue(...)`: declares the queue of the handler below it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from types import NoneType
from typing import Any, Concatenate, Final, Generic, Never, TypedDict, TypeVar, Unpack, overload

import attrs

from ._base_queue import UnknownFields
from ._batch import Batch, output_of
from ._declare import DeclaredQueue
from ._duration import Duration
from ._errors import InvalidQueue
from ._fair import Fair
from ._job import Error, FailedJob, Input, Output
from ._keep import Keep
from ._limits import Limit, Rate
from ._order import IfFailed
from ._queue import Lifespan, Queue, Runs, Setup
from ._queue_checks import check_options
from ._retry import Retry, RetryFunction
from ._signature import described, hints_of, names_around


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
    fair_by: Fair | str | None
    ordered_by: str | None
    if_failed: IfFailed
    transactional: bool
    unknown_fields: UnknownFields
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


#: Options that say what rows and texts are, and so are those of the declaration alone.
_DECLARED: Final[Sequence[str]] = (
    "default_job_timeout",
    "retry",
    "size_limit",
    "unknown_fields",
    "fair_by",
    "ordered_by",
    "input_to_json",
    "input_decoder",
    "output_to_json",
    "output_decoder",
    "error_to_json",
    "error_decoder",
)


@attrs.frozen
class HandlerDeclaration(Generic[Input, Output, Error]):
    """What `@queue(declared)` returns: called with the handler, it returns the queue."""

    declared: DeclaredQueue[Input, Output, Error]
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
        declared = self.declared
        made = Queue[Any, Any, Error](
            declared.name,
            handler_function=handler,
            errors=declared.errors,
            default_job_timeout=declared.default_job_timeout,
            retry=declared.retry,
            size_limit=declared.size_limit,
            unknown_fields=declared.unknown_fields,
            fair_by=declared.fair_by,
            ordered_by=declared.ordered_by,
            **self.options,  # type: ignore[misc]  # none of these is among them
        )
        returned = hints_of(handler, names_around(handler)).get("return")
        if made.batch is not None:
            returned = output_of(returned, handler)
        for what, has, wanted in (
            ("takes", made.input_type, declared.input_type),
            ("returns", returned, declared.output_type),
        ):
            if has != wanted and {has, wanted} != {None, NoneType}:
                raise InvalidQueue(
                    f"queue {declared.name!r:.80}: the handler {described(handler)} {what} {has!r},"
                    f" and the queue is declared with {wanted!r} at {declared.place}"
                )
        return made


@attrs.frozen
class BatchDeclaration(Generic[Error]):
    """What `@queue(..., batch=...)` returns: called with the handler, it returns the queue.

    The queue's types are those of one job.
    """

    name: str
    errors: tuple[type[Error], ...]
    batch: Batch
    options: QueueOptions

    @overload
    def __call__(
        self, handler: Callable[Concatenate[list[Input], ...], Coroutine[Any, Any, None]], /
    ) -> Queue[Input, None, Error]: ...
    @overload
    def __call__(
        self,
        handler: Callable[
            Concatenate[list[Input], ...], Coroutine[Any, Any, Sequence[Output | Exception]]
        ],
        /,
    ) -> Queue[Input, Output, Error]: ...
    def __call__(self, handler: Callable[Concatenate[Any, ...], Any], /) -> Queue[Any, Any, Error]:
        return Queue(
            self.name,
            handler_function=handler,
            errors=self.errors,
            batch=self.batch,
            **self.options,
        )


@attrs.frozen
class BatchHandlerDeclaration(Generic[Input, Output, Error]):
    """What `@queue(declared, batch=...)` returns: called with the handler, it returns the queue."""

    declared: DeclaredQueue[Input, Output, Error]
    batch: Batch
    options: QueueOptions

    def __call__(
        self,
        handler: Callable[
            Concatenate[list[Input], ...],
            Coroutine[Any, Any, Sequence[Output | Exception] | None],
        ],
        /,
    ) -> Queue[Input, Output, Error]:
        options: Any = {**self.options, "batch": self.batch}
        declaration = HandlerDeclaration[Any, Any, Error](self.declared, options)
        return declaration(handler)


E1 = TypeVar("E1", bound=Exception)
E2 = TypeVar("E2", bound=Exception)
E3 = TypeVar("E3", bound=Exception)
E4 = TypeVar("E4", bound=Exception)


@overload
def queue(
    name: DeclaredQueue[Input, Output, Error], **options: Unpack[QueueOptions]
) -> HandlerDeclaration[Input, Output, Error]: ...
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
# The same once more, of a handler that takes a list of inputs.
@overload
def queue(
    name: DeclaredQueue[Input, Output, Error], *, batch: Batch, **options: Unpack[QueueOptions]
) -> BatchHandlerDeclaration[Input, Output, Error]: ...
@overload
def queue(
    name: str, *, batch: Batch, errors: tuple[()] = ..., **options: Unpack[QueueOptions]
) -> BatchDeclaration[Never]: ...
@overload
def queue(
    name: str, *, batch: Batch, errors: tuple[type[E1]], **options: Unpack[QueueOptions]
) -> BatchDeclaration[E1]: ...
@overload
def queue(
    name: str, *, batch: Batch, errors: tuple[type[E1], type[E2]], **options: Unpack[QueueOptions]
) -> BatchDeclaration[E1 | E2]: ...
@overload
def queue(
    name: str,
    *,
    batch: Batch,
    errors: tuple[type[E1], type[E2], type[E3]],
    **options: Unpack[QueueOptions],
) -> BatchDeclaration[E1 | E2 | E3]: ...
@overload
def queue(
    name: str, *, batch: Batch, errors: tuple[type[E1], ...], **options: Unpack[QueueOptions]
) -> BatchDeclaration[E1]: ...
def queue(
    name: str | DeclaredQueue[Any, Any, Any],
    *,
    errors: tuple[type[Exception], ...] = (),
    batch: Batch | None = None,
    **options: Unpack[QueueOptions],
) -> (
    Declaration[Any]
    | HandlerDeclaration[Any, Any, Any]
    | BatchDeclaration[Any]
    | BatchHandlerDeclaration[Any, Any, Any]
):
    """Declare the decorated function as the handler of a queue, and return the `Queue`.

    Input and output types are those of its annotations; `errors` are the declared errors, and
    `options` those of `Queue`. It is an `async def`, or with `runs="thread"` or `"process"` a plain
    `def`. What `setup` and `lifespan` yield is not checked against its parameters by type.

    With `batch` the handler is an `async def` that takes a list of inputs, and returns a list of
    outcomes, each an output or an error; or `None`, where all have succeeded.

    In place of a name it takes what `declare` has made: then name, types, errors and what else is
    declared are those, and the handler's annotations must agree with them.

    Raises:
        InvalidQueue: as `Queue` does, with the handler's file and line.
        TypeError: there is no such option.
    """
    if isinstance(name, DeclaredQueue):
        given = [option for option in _DECLARED if option in options]
        if errors or given:
            twice = ", ".join(["errors"] * bool(errors) + given)
            raise InvalidQueue(
                f"queue {name.name!r:.80}: {twice} cannot be given here: they are those of its"
                f" declaration, at {name.place}"
            )
        check_options(name.name, options, {*QueueOptions.__annotations__, "batch"})
        if batch is not None:
            return BatchHandlerDeclaration(name, batch, options)
        return HandlerDeclaration(name, options)
    if not isinstance(name, str):
        raise InvalidQueue(
            "@m25.queue takes the queue's name before it takes its handler, as in "
            f'@m25.queue("emails"); not {name!r:.80}'
        )
    check_options(name, options, {*QueueOptions.__annotations__, "errors", "batch"})
    if batch is not None:
        return BatchDeclaration(name, errors, batch, options)
    return Declaration(name, errors, options)
