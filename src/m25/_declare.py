"""`declare(...)`: a queue without its handler, for programs that put jobs on it and run none."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Never, TypeVar, cast, overload

import attrs

from ._base_queue import BaseQueue, UnknownFields
from ._codec import Codec, error_codec, value_codec
from ._duration import Duration
from ._errors import InvalidQueue
from ._failed_job import input_codec
from ._fair import Fair, as_fair, check_fair
from ._job import Error, Input, Output_co
from ._order import check_order
from ._queue_checks import (
    check_duration,
    check_errors,
    check_name,
    check_unknown_fields,
    check_whole,
    seconds,
)
from ._retry import Retry, RetryFunction, as_retry, check_retry
from ._signature import place_of

if TYPE_CHECKING:
    # Before Python 3.13 only type checkers know of defaults.
    from typing_extensions import TypeVar as TypeVarWithDefault

    #: Of a queue whose handler returns nothing, which is given as `None`, and that is no type.
    Output = TypeVarWithDefault("Output", default=None)
    E1 = TypeVarWithDefault("E1", bound=Exception, default=Never)
    E2 = TypeVarWithDefault("E2", bound=Exception, default=Never)
    E3 = TypeVarWithDefault("E3", bound=Exception, default=Never)
else:
    Output, E1, E2, E3 = (TypeVar(name) for name in ("Output", "E1", "E2", "E3"))

_DEFAULT_TIMEOUT: Final = timedelta(minutes=5)
_DEFAULT_SIZE_LIMIT: Final = 1_048_576
_CHECK_SIZE: Final = check_whole(1, 255_000_000)


@attrs.frozen(eq=False, kw_only=True)
class DeclaredQueue(BaseQueue[Input, Output_co, Error]):
    """A queue as those who enqueue know it, made by `declare`."""

    name: str
    #: The types of inputs and outputs.
    input_type: Any
    output_type: Any
    errors: tuple[type[Error], ...]
    default_job_timeout: timedelta
    retry: Retry | None
    size_limit: int
    unknown_fields: UnknownFields
    fair_by: Fair | None
    ordered_by: str | None
    #: How often a job that is waited for is looked for, where nothing says that it has ended.
    poll_interval: timedelta = timedelta(seconds=5)
    #: Where it is declared: the file and the line.
    place: str

    input_codec: Codec[Input] = attrs.field(init=False, repr=False)
    output_codec: Codec[Output_co] = attrs.field(init=False, repr=False)
    error_codec: Codec[Error] = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        where = f"the queue {self.name!r:.80} ({self.place})"
        ignores = self.ignores_unknown
        for what, kind in (("input", self.input_type), ("output", self.output_type)):
            codec = value_codec(kind, f"the {what} of {where}", ignores_unknown=ignores)
            self._set_codec(f"{what}_codec", input_codec(kind, codec))
        codec = error_codec(self.errors, f"the errors of {where}", ignores_unknown=ignores)
        self._set_codec("error_codec", codec)

    def _set_codec(self, name: str, codec: Codec[Any]) -> None:
        object.__setattr__(self, name, attrs.evolve(codec, size_limit=self.size_limit))


# One overload for each number of errors, as `queue` has them.
@overload
def declare(
    name: str,
    *,
    input: type[Input],
    output: type[Output] | None,
    errors: tuple[()] = ...,
    default_job_timeout: Duration = ...,
    retry: Retry | RetryFunction | None = ...,
    size_limit: int = ...,
    unknown_fields: UnknownFields = ...,
    fair_by: Fair | str | None = ...,
    ordered_by: str | None = ...,
) -> DeclaredQueue[Input, Output, Never]: ...
@overload
def declare(
    name: str,
    *,
    input: type[Input],
    output: type[Output] | None,
    errors: tuple[type[E1]],
    default_job_timeout: Duration = ...,
    retry: Retry | RetryFunction | None = ...,
    size_limit: int = ...,
    unknown_fields: UnknownFields = ...,
    fair_by: Fair | str | None = ...,
    ordered_by: str | None = ...,
) -> DeclaredQueue[Input, Output, E1]: ...
@overload
def declare(
    name: str,
    *,
    input: type[Input],
    output: type[Output] | None,
    errors: tuple[type[E1], type[E2]],
    default_job_timeout: Duration = ...,
    retry: Retry | RetryFunction | None = ...,
    size_limit: int = ...,
    unknown_fields: UnknownFields = ...,
    fair_by: Fair | str | None = ...,
    ordered_by: str | None = ...,
) -> DeclaredQueue[Input, Output, E1 | E2]: ...
@overload
def declare(
    name: str,
    *,
    input: type[Input],
    output: type[Output] | None,
    errors: tuple[type[E1], type[E2], type[E3]],
    default_job_timeout: Duration = ...,
    retry: Retry | RetryFunction | None = ...,
    size_limit: int = ...,
    unknown_fields: UnknownFields = ...,
    fair_by: Fair | str | None = ...,
    ordered_by: str | None = ...,
) -> DeclaredQueue[Input, Output, E1 | E2 | E3]: ...
@overload
def declare(
    name: str,
    *,
    input: type[Input],
    output: type[Output] | None,
    errors: tuple[type[E1], ...],
    default_job_timeout: Duration = ...,
    retry: Retry | RetryFunction | None = ...,
    size_limit: int = ...,
    unknown_fields: UnknownFields = ...,
    fair_by: Fair | str | None = ...,
    ordered_by: str | None = ...,
) -> DeclaredQueue[Input, Output, E1]: ...
def declare(
    name: str,
    *,
    input: Any,  # noqa: A002 - a queue's word
    output: Any,
    errors: tuple[type[Exception], ...] = (),
    default_job_timeout: Duration = _DEFAULT_TIMEOUT,
    retry: Retry | RetryFunction | None = None,
    size_limit: int = _DEFAULT_SIZE_LIMIT,
    unknown_fields: UnknownFields = "release",
    fair_by: Fair | str | None = None,
    ordered_by: str | None = None,
) -> DeclaredQueue[Any, Any, Any]:
    """Declare a queue without its handler: all that who enqueues needs to know.

        emails = m25.declare("emails", input=Email, output=Receipt, errors=(MailboxFull,))

    It stands in a module that producers and workers import. The worker's handler is decorated by
    `@m25.queue(emails)`, and checked against it.

    Args:
        name: the queue's.
        input: the type of the inputs.
        output: the type of what the handler returns; `None` where it returns nothing.
        errors: the declared errors, as `Queue` has them.
        default_job_timeout: how long a handler may run, where its job does not say; in seconds or
            as a `timedelta`.
        retry: how jobs are tried again that do not say it themselves.
        size_limit: how many bytes an input, an output or an error may take as JSON.
        unknown_fields: what workers do with a job in whose input something is not known, as `Queue`
            has it. With "ignore", fields that are not known are left out of outputs and errors as
            well, where these are read.
        fair_by: between which keys its workers are fair, as `Queue` has it.
        ordered_by: of which key jobs run one after another, as `Queue` has it.

    Raises:
        InvalidQueue: an option is out of range, or a type cannot be kept as JSON; it says where the
            queue is declared.
    """
    place = place_of(None)
    timeout = seconds(default_job_timeout)
    rule = as_retry(retry)
    try:
        check_name("name", name)
        check_errors("errors", errors)
        check_duration("default_job_timeout", timeout)
        check_retry("retry", rule)
        _CHECK_SIZE("size_limit", size_limit)
        check_unknown_fields("unknown_fields", unknown_fields)
        fair = as_fair(fair_by)
        check_fair("fair_by", fair)
        check_order("ordered_by", ordered_by)
    except InvalidQueue as error:
        raise InvalidQueue(f"queue {name!r:.80}: {error} (at {place})") from error.__cause__
    return DeclaredQueue(
        name=name,
        input_type=input,
        output_type=output,
        errors=errors,
        default_job_timeout=timeout,
        retry=cast("Retry | None", rule),
        size_limit=size_limit,
        unknown_fields=unknown_fields,
        fair_by=fair,
        ordered_by=ordered_by,
        place=place,
    )
