"""A queue, as its user declares it; long, since it has every option, and what each means.

By the decorator over the handler, or by hand:

    @m25.queue("emails", errors=(MailboxFull,), max_concurrency=20)
    async def emails(email: Email) -> Receipt: ...

    emails = m25.Queue("emails", handler_function=send, errors=(MailboxFull,), max_concurrency=20)
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager
from datetime import timedelta
from types import NoneType
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Final,
    Literal,
    TypeAlias,
    TypeVar,
)

import attrs

from ._base_queue import BaseQueue, UnknownFields
from ._batch import Batch, check_batch, check_batch_queue, input_of, output_of
from ._codec import Codec, error_codec, value_codec
from ._errors import InvalidQueue
from ._failed_job import input_codec
from ._fair import Fair, as_fair, check_fair
from ._handler import Handler
from ._job import Error, FailedJob, Input, Output_co
from ._keep import Keep, check_keep
from ._limits import Limit, Rate, check_limit, check_one_key, check_rate, limiter_name
from ._order import IfFailed, check_alone, check_if_failed, check_order
from ._queue_checks import (
    RUNS,
    check_callable,
    check_context,
    check_duration,
    check_errors,
    check_exclusive,
    check_flag,
    check_handler,
    check_name,
    check_options,
    check_place,
    check_runs,
    check_unknown_fields,
    check_whole,
    failure_cycle,
    seconds,
)
from ._retry import Retry, as_retry, check_retry
from ._signature import (
    Arguments,
    arguments_of,
    described,
    hints_of,
    names_around,
    place_of,
)

Resource = TypeVar("Resource")

#: The type of `setup`: it is called for each job, and what it returns is entered before the job's
#: handler and left after it.
Setup = Callable[[], AbstractAsyncContextManager[Resource]]
#: The type of `lifespan`: it is called once, and what it returns is entered before the first job.
Lifespan = Callable[[], AbstractAsyncContextManager[Any]]
#: Where a handler runs.
Runs: TypeAlias = Literal["trio", "thread", "process"]


def _check(
    check: Callable[[str, object], None],
) -> Callable[[Queue[Any, Any, Any], attrs.Attribute[Any], Any], None]:
    """A validator whose error names the queue, and the place where the queue is declared."""

    def validate(queue: Queue[Any, Any, Any], field: attrs.Attribute[Any], value: Any) -> None:
        with _naming(queue):
            check(field.name, value)

    return validate


_DURATION: Final = _check(check_duration)
_FUNCTION: Final = _check(check_callable)


@contextmanager
def _naming(queue: Queue[Any, Any, Any]) -> Generator[None]:
    try:
        yield
    except InvalidQueue as error:
        place = place_of(queue.handler_function)
        message = str(error) if place in str(error) else f"{error} (at {place})"
        raise InvalidQueue(f"queue {queue.name!r:.80}: {message}") from error.__cause__


def _check_on_failure(_: str, value: object) -> None:
    if value is None:
        return
    if not isinstance(value, Queue):
        raise InvalidQueue(f"on_failure must be a queue, not {value!r:.80}")
    if value.input_type not in (FailedJob, None):
        raise InvalidQueue(
            "on_failure must be a queue whose input is m25.FailedJob, and that of"
            f" {value.name!r} is {value.input_type!r:.80}"
        )


def _check_handler(queue: Queue[Any, Any, Any], _: attrs.Attribute[Any], value: object) -> None:
    with _naming(queue):
        if isinstance(value, Queue):
            raise InvalidQueue(
                "the handler is already a queue; give it the queue's handler_function"
            )
        # What is none of them is refused by its own check.
        if queue.runs in RUNS:
            check_handler(value, queue.runs)


def _arguments(queue: Queue[Any, Any, Any]) -> Arguments:
    check_place(queue)
    return arguments_of(
        queue.handler_function,
        has_setup=queue.setup is not None,
        has_lifespan=queue.lifespan is not None,
        is_transactional=queue.transactional,
    )


def _input_type(queue: Queue[Any, Any, Any], first: str, names: Mapping[str, Any]) -> Any:
    try:
        return _input_hint(queue, hints_of(queue.handler_function, names).get(first))
    except InvalidQueue:
        if queue.input_decoder is None:
            raise
        # With codecs by hand the annotations may be anything.
        return None


def _input_hint(queue: Queue[Any, Any, Any], annotation: Any) -> Any:
    """The type of one input, by the annotation of what the handler takes."""
    if queue.batch is None:
        return annotation
    return input_of(annotation, queue.handler_function)


def _input_codec(queue: Queue[Any, Any, Any], first: str, names: Mapping[str, Any]) -> Codec[Any]:
    handler = queue.handler_function
    by_hand = _by_hand(queue.input_to_json, queue.input_decoder, "input")
    if by_hand is not None:
        return by_hand
    hints = hints_of(handler, names)
    if first not in hints:
        raise InvalidQueue(
            f"the parameter {first!r} of the handler {described(handler)} needs an annotation, "
            "which says how its input is kept as JSON; or give input_to_json and input_decoder"
        )
    where = f"the input of {described(handler)}"
    kind = _input_hint(queue, hints[first])
    codec = value_codec(kind, where, names, ignores_unknown=queue.ignores_unknown)
    return input_codec(kind, codec)


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
    where = f"the output of {described(handler)}"
    kind = hints["return"] if queue.batch is None else output_of(hints["return"], handler)
    return value_codec(kind, where, names, ignores_unknown=queue.ignores_unknown)


def _error_codec(queue: Queue[Any, Any, Any], names: Mapping[str, Any]) -> Codec[Any]:
    by_hand = _by_hand(queue.error_to_json, queue.error_decoder, "error")
    if by_hand is not None:
        return by_hand
    where = f"the errors of {described(queue.handler_function)}"
    return error_codec(queue.errors, where, names, ignores_unknown=queue.ignores_unknown)


def _by_hand(
    to_json: Callable[[Any], Any] | None, decoder: Callable[[Any], Any] | None, what: str
) -> Codec[Any] | None:
    if to_json is None and decoder is None:
        return None
    if to_json is None or decoder is None:
        raise InvalidQueue(f"give both {what}_to_json and {what}_decoder, or neither")
    return Codec(to_json, decoder)


@attrs.frozen(eq=False)
class Queue(BaseQueue[Input, Output_co, Error]):
    """A queue of jobs: their name, their handler, and how they are run.

    The options and their meaning are those of the original m25. Durations are seconds, or a
    `timedelta`.

    Raises:
        InvalidQueue: an option is out of range, or the annotations do not say what the handler
            takes and returns. It is raised here, never later.
        TypeError: there is no such option.
    """

    #: Unique within one client. In the job table it says to which queue a job belongs.
    name: str = attrs.field(validator=_check(check_name))
    #: Turns an input into an output, or raises one of `errors`. What `setup` yields is its second
    #: argument, or its parameter `resource`; what `lifespan` yields is its parameter `shared`. An
    #: `async def`, or where `runs` says so a plain `def`: to type checkers that is one for `@queue`
    #: alone, as no checker can tell the two apart here and infer the output of both.
    handler_function: Callable[Concatenate[Input, ...], Awaitable[Output_co]] = attrs.field(
        kw_only=True, validator=_check_handler
    )
    #: The declared errors: exception classes whose instances are kept in `error_data` and come back
    #: equal. Anything else that is raised is a crash.
    errors: tuple[type[Error], ...] = attrs.field(
        default=(), kw_only=True, validator=_check(check_errors)
    )
    #: How many jobs run at once, in this process; the cluster has no limit.
    max_concurrency: int = attrs.field(
        default=10, kw_only=True, validator=_check(check_whole(1, 100_000))
    )
    #: How long a handler may run, where its job does not say.
    default_job_timeout: timedelta = attrs.field(
        default=timedelta(minutes=5),
        kw_only=True,
        converter=seconds,
        validator=_DURATION,
    )
    #: How often m25 looks for work of the queue when nothing woke it. Of a client's queues, the
    #: shortest interval holds for all.
    poll_interval: timedelta = attrs.field(
        default=timedelta(seconds=5),
        kw_only=True,
        converter=seconds,
        validator=_DURATION,
    )
    #: How often each executor is sent a heartbeat.
    heartbeat_interval: timedelta = attrs.field(
        default=timedelta(seconds=5),
        kw_only=True,
        converter=seconds,
        validator=_DURATION,
    )
    #: How many heartbeats in a row may go unanswered before the attempt has failed.
    allowed_heartbeat_misses: int = attrs.field(
        default=3, kw_only=True, validator=_check(check_whole(0, 1_000))
    )
    #: How long `setup` may take before its job goes back to pending.
    executor_init_timeout: timedelta = attrs.field(
        default=timedelta(seconds=5),
        kw_only=True,
        converter=seconds,
        validator=_DURATION,
    )
    #: How long a job may stay reserved before it goes back to pending.
    reserved_timeout: timedelta = attrs.field(
        default=timedelta(seconds=30),
        kw_only=True,
        converter=seconds,
        validator=_DURATION,
    )
    #: How long a handler may go on after its job's cancel was asked for, to clean up.
    cancel_grace: timedelta = attrs.field(
        default=timedelta(seconds=10),
        kw_only=True,
        converter=seconds,
        validator=_DURATION,
    )
    #: How many attempts of a chain may be lost with their process and not be counted.
    allowed_losses: int = attrs.field(
        default=3, kw_only=True, validator=_check(check_whole(0, 1_000_000))
    )
    #: How jobs are tried again that do not say it themselves: a `Retry`, or a function of a job and
    #: an error, as `Retry.delay` takes it. Without it there is one attempt.
    retry: Retry | None = attrs.field(
        default=None, kw_only=True, converter=as_retry, validator=_check(check_retry)
    )
    #: A queue whose input is `FailedJob`: it is given a job for each of this queue's that has
    #: failed with no attempt left, in the same transaction.
    on_failure: Queue[FailedJob, Any, Any] | None = attrs.field(
        default=None, kw_only=True, validator=_check(_check_on_failure)
    )
    #: How many times in a row the setup of a job may fail, by raising or by taking too long, before
    #: its attempt ends as a crash. The pauses between them grow to 2.5 s, so that the default is
    #: some minutes: as long as what a setup opens may be away.
    max_setup_failures: int = attrs.field(
        default=100, kw_only=True, validator=_check(check_whole(1, 1_000_000))
    )
    #: How many bytes an input, an output or an error may take as JSON. A larger input is refused; a
    #: larger output or error ends its attempt as a crash. Values that are in the table already are
    #: read whatever their size.
    size_limit: int = attrs.field(
        default=1_048_576, kw_only=True, validator=_check(check_whole(1, 255_000_000))
    )
    #: Returns an async context manager that each executor enters before its job counts as started;
    #: what the context manager yields is the handler's second argument, or its `resource`.
    setup: Setup[Any] | None = attrs.field(
        default=None, kw_only=True, validator=_check(check_context)
    )
    #: Returns an async context manager that is entered once in each process that runs the queue,
    #: before its first claim, and left after its last job; what it yields is the handler's
    #: `shared`. Where it raises, it is entered again after a pause.
    lifespan: Lifespan | None = attrs.field(
        default=None, kw_only=True, validator=_check(check_context)
    )
    #: Where the handler runs: in Trio, as an `async def` does; or, as a plain `def`, in a thread,
    #: which nothing can end, or in a process of its own, which is killed at the job's deadline.
    runs: Runs = attrs.field(default="trio", kw_only=True, validator=_check(check_runs))
    #: Whether two handlers of one job never run at once, in whatever process: a worker that cannot
    #: renew the job's lease cancels its handler before anyone else may start the job.
    exclusive: bool = attrs.field(default=False, kw_only=True, validator=_check(check_flag))
    #: How many of its jobs run at once, in all processes together, or of each key. It brings
    #: `exclusive` with it: only what ends with its lease can be counted.
    limit: Limit | None = attrs.field(default=None, kw_only=True, validator=_check(check_limit))
    #: For how long its jobs are kept once they have ended; `None` is for ever. Workers delete them
    #: after that, and need the right to.
    keep: Keep | None = attrs.field(default=None, kw_only=True, validator=_check(check_keep))
    #: How many of its jobs begin in a time, in all processes together.
    rate: Rate | None = attrs.field(default=None, kw_only=True, validator=_check(check_rate))
    #: Between which keys it is fair: a `Fair`, or the path of its key alone. Whatever waits of one
    #: key, the jobs of others take their turns.
    fair_by: Fair | None = attrs.field(
        default=None, kw_only=True, converter=as_fair, validator=_check(check_fair)
    )
    #: With how many jobs the handler is called at once; without it, with one. It takes a list of
    #: inputs, and returns a list of outcomes: for each job its output, or an error to fail it with.
    #: To type checkers that is one for `@queue` alone.
    batch: Batch | None = attrs.field(default=None, kw_only=True, validator=_check(check_batch))
    #: The path of a key in the input: jobs of one key run one after another, in the order in which
    #: they were enqueued, in all processes together. It brings `exclusive` with it.
    ordered_by: str | None = attrs.field(default=None, kw_only=True, validator=_check(check_order))
    #: What becomes of the jobs behind one that has failed for good: "hold" has them wait until
    #: somebody has retried, skipped or deleted it; with "pass" they go on.
    if_failed: IfFailed = attrs.field(
        default="hold", kw_only=True, validator=_check(check_if_failed)
    )
    #: Whether the handler runs in a transaction: it takes a `connection`, and what it writes on
    #: that, its output and the job's success are one commit, or none of them is there.
    transactional: bool = attrs.field(default=False, kw_only=True, validator=_check(check_flag))
    #: What becomes of a job in whose input a field, a member of an Enum or a class of a union is
    #: not known, as a newer program may have put it there. "release": newer workers are waited for,
    #: for 15 minutes, and then its attempt fails. "refuse": its attempt fails. "ignore": a field
    #: that is not known is left out, also where outputs and errors are read; for what else is not
    #: known, newer workers are waited for.
    unknown_fields: UnknownFields = attrs.field(
        default="release", kw_only=True, validator=_check(check_unknown_fields)
    )
    #: Turns an input into what `json.dumps` takes. With `input_decoder` it replaces the codec that
    #: is otherwise made from the handler's annotations. So do the pairs for output and error.
    input_to_json: Callable[[Input], Any] | None = attrs.field(
        default=None, kw_only=True, validator=_FUNCTION
    )
    #: Turns what `json.loads` returns into an input.
    input_decoder: Callable[[Any], Input] | None = attrs.field(
        default=None, kw_only=True, validator=_FUNCTION
    )
    output_to_json: Callable[[Output_co], Any] | None = attrs.field(
        default=None, kw_only=True, validator=_FUNCTION
    )
    output_decoder: Callable[[Any], Output_co] | None = attrs.field(
        default=None, kw_only=True, validator=_FUNCTION
    )
    error_to_json: Callable[[Error], Any] | None = attrs.field(
        default=None, kw_only=True, validator=_FUNCTION
    )
    error_decoder: Callable[[Any], Error] | None = attrs.field(
        default=None, kw_only=True, validator=_FUNCTION
    )

    #: The annotation of the input; `None` where there is none, as codecs by hand need none.
    input_type: Any = attrs.field(init=False, repr=False)
    input_codec: Codec[Input] = attrs.field(init=False, repr=False)
    output_codec: Codec[Output_co] = attrs.field(init=False, repr=False)
    error_codec: Codec[Error] = attrs.field(init=False, repr=False)
    #: Whether its handler returns nothing of the jobs of a batch: all have succeeded then.
    says_nothing: bool = attrs.field(init=False, repr=False, default=False)
    #: The queue's own code, and how it is called.
    handler: Handler[Input, Output_co, Error] = attrs.field(init=False, repr=False)

    if not TYPE_CHECKING:

        def __new__(
            cls, name: object = None, /, *_: object, **options: object
        ) -> Queue[Any, Any, Any]:
            # Python's own TypeError says what was given, and not what was meant.
            known = {field.alias for field in attrs.fields(cls) if field.init}
            check_options(options.get("name", name), options, known)
            return object.__new__(cls)

    def __attrs_post_init__(self) -> None:
        with _naming(self):
            if self.setup is not None and self.executor_init_timeout >= self.reserved_timeout:
                raise InvalidQueue(
                    f"executor_init_timeout ({self.executor_init_timeout}) must be shorter than "
                    f"reserved_timeout ({self.reserved_timeout}): a job whose executor is still "
                    "initialising must not be taken for stuck"
                )
            if self.batch is not None:
                check_batch_queue(self)
            if self.makes_room:
                object.__setattr__(self, "exclusive", True)
            limiter_name(self.name, self.limit, self.rate)
            check_one_key(self)
            check_alone(self)
            if self.exclusive:
                check_exclusive(self)
            if cycle := failure_cycle([self]):
                raise InvalidQueue(f"on_failure leads in a circle: {' → '.join(map(repr, cycle))}")
            arguments = _arguments(self)
            names = names_around(self.handler_function)
            object.__setattr__(self, "input_type", _input_type(self, arguments.input, names))
            # Not as defaults of the fields: attrs makes those before it validates the options.
            self._set_codec("input_codec", _input_codec(self, arguments.input, names))
            self._set_codec("output_codec", _output_codec(self, names))
            self._set_codec("error_codec", _error_codec(self, names))
            if self.batch is not None:
                returned = hints_of(self.handler_function, names).get("return", Batch)
                object.__setattr__(self, "says_nothing", returned in (None, NoneType))
        handler = Handler(
            function=self.handler_function,
            arguments=arguments,
            setup=self.setup,
            errors=self.errors,
            input_codec=self.input_codec,
            output_codec=self.output_codec,
            error_codec=self.error_codec,
            retry=self.retry,
        )
        object.__setattr__(self, "handler", handler)

    def _set_codec(self, name: str, codec: Codec[Any]) -> None:
        object.__setattr__(self, name, attrs.evolve(codec, size_limit=self.size_limit))

    @property
    def on_failure_name(self) -> str | None:
        """The name of the queue that is told of failures, if one is."""
        return None if self.on_failure is None else self.on_failure.name

    @property
    def limiter_name(self) -> str | None:
        """The name of its limit, or its rate, if it has one: its own has the queue's."""
        return limiter_name(self.name, self.limit, self.rate)

    @property
    def lock_name(self) -> str | None:
        """The name of the row that its claims lock, so that one comes after the other: that of its
        limit or its rate, and of a fair or an ordered queue without any its own; `None` of all
        other queues.
        """
        has_keys = self.fair_by is not None or self.ordered_by is not None
        return self.limiter_name or (self.name if has_keys else None)

    @property
    def makes_room(self) -> bool:
        """Whether one of its jobs that ends lets another begin."""
        return self.limit is not None or self.ordered_by is not None

    @property
    def lease(self) -> timedelta:
        """How long after its latest heartbeat an attempt is taken for lost."""
        return self.heartbeat_interval * (self.allowed_heartbeat_misses + 1)
