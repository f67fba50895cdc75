"""`Retry`: after which failures of a queue's jobs another attempt follows, and when."""

from __future__ import annotations

import enum
import inspect
import random
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

import attrs

from ._duration import LONGEST, Duration, as_timedelta
from ._errors import InvalidQueue
from ._handler_errors import Request

if TYPE_CHECKING:
    from ._running_job import RunningJob


class _GiveUp(enum.Enum):
    """A type of one value, so that type checkers can tell it from a delay."""

    GIVE_UP = "GIVE_UP"

    def __repr__(self) -> str:
        return "m25.GIVE_UP"


#: In place of a delay: no attempt follows.
GIVE_UP: Final = _GiveUp.GIVE_UP

#: What a retry function returns: after how long the next attempt may run, in seconds or as a
#: `timedelta`, or that none is to follow.
RetryDecision: TypeAlias = Duration | _GiveUp

#: Decides about one failure. It is given the job, which is what `current_job()` is in the handler,
#: and what the handler raised; for a missed deadline that is a `JobTimeout`. To type checkers the
#: error may be of any class: the function of a class in `Retry.on` is given one of that class.
RetryFunction: TypeAlias = "Callable[[RunningJob[Any, Any, Any], Any], RetryDecision]"


def _first(value: Duration) -> timedelta:
    return as_timedelta(value, "exponential: first", InvalidQueue)


def _cap(value: Duration) -> timedelta:
    return as_timedelta(value, "exponential: cap", InvalidQueue)


def _check_number(low: float, high: float) -> Callable[[object, attrs.Attribute[Any], Any], None]:
    def check(_: object, field: attrs.Attribute[Any], value: Any) -> None:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InvalidQueue(f"exponential: {field.name} must be a number, not {value!r:.80}")
        if not low <= value <= high:
            raise InvalidQueue(
                f"exponential: {field.name} must be from {low:g} to {high:g}, not {value!r:.80}"
            )

    return check


@attrs.frozen
class Exponential:
    """A delay that grows with each attempt, made by `exponential`."""

    first: timedelta = attrs.field(converter=_first)
    factor: float = attrs.field(kw_only=True, validator=_check_number(1, 1_000))
    cap: timedelta = attrs.field(kw_only=True, converter=_cap)
    jitter: float = attrs.field(kw_only=True, validator=_check_number(0, 1))

    def __attrs_post_init__(self) -> None:
        if self.first > self.cap:
            raise InvalidQueue(
                f"exponential: first ({self.first}) must not be longer than cap ({self.cap}),"
                " which is an hour where it is not given"
            )

    def after(self, counted: int, rng: random.Random) -> timedelta:
        """How long to wait after the attempt of this number, counted from 1 without the lost."""
        cap, seconds = self.cap.total_seconds(), self.first.total_seconds()
        try:
            # As floats, which overflow: the power of an integer takes ever longer.
            seconds = min(seconds * float(self.factor) ** max(0, counted - 1), cap)
        except OverflowError:
            seconds = cap
        if self.jitter:
            seconds *= rng.uniform(1 - self.jitter, 1 + self.jitter)
        return min(timedelta(seconds=seconds), LONGEST)


def exponential(
    first: Duration, *, factor: float = 2.0, cap: Duration = 3_600.0, jitter: float = 0.2
) -> Exponential:
    """A delay for `Retry` that grows: `first` after the first attempt, then `factor` times more.

    Attempts that were lost with their process do not make it grow.

    Args:
        first: after the first attempt, in seconds or as a `timedelta`.
        factor: from 1 to 1,000.
        cap: it grows up to this, in seconds or as a `timedelta`.
        jitter: from 0 to 1; 0.2 makes each delay up to 20 % shorter or longer, by chance, so that
            jobs that failed together are not tried again together. Delays at `cap` are spread, too,
            and may be longer by that.

    Raises:
        InvalidQueue: a value is out of range, or `first` is longer than `cap`.
    """
    return Exponential(first, factor=factor, cap=cap, jitter=jitter)


#: When the next attempt may run: after the same delay each time, one that grows, or what a function
#: returns.
RetryDelay: TypeAlias = "Duration | Exponential | RetryFunction"
#: The same, and that none is to follow.
RetryRule: TypeAlias = "RetryDelay | _GiveUp"

#: What a rule is once it was checked.
Checked: TypeAlias = "timedelta | Exponential | RetryFunction | _GiveUp"


def _check_function(value: Callable[..., Any], name: str) -> None:
    if inspect.iscoroutinefunction(value) or inspect.iscoroutinefunction(
        getattr(value, "__call__", None)  # noqa: B004
    ):
        raise InvalidQueue(f"{name} must be a plain function: it cannot be awaited")
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):
        return
    try:
        signature.bind(None, None)
    except TypeError:
        raise InvalidQueue(
            f"{name} is called with 2 arguments (the job, the error), and takes {signature}"
        ) from None


def _rule(value: object, name: str) -> Checked:
    if isinstance(value, _GiveUp | Exponential):
        return value
    if callable(value) and not isinstance(value, type):
        _check_function(value, name)
        return cast("RetryFunction", value)
    if not isinstance(value, timedelta) and type(value) not in (int, float):
        raise InvalidQueue(
            f"{name} must be seconds, a timedelta, m25.exponential(…) or a function of a job and an"
            f" error; not {value!r:.80}"
        )
    return as_timedelta(value, name, InvalidQueue, zero=True)


# Their parameters have the types that type checkers are to allow; anything may come all the same.


def _delay(value: RetryDelay) -> RetryDelay:
    if cast("object", value) is GIVE_UP:
        raise InvalidQueue("Retry: delay cannot be GIVE_UP; max_attempts=1 gives up each time")
    return cast("RetryDelay", _rule(value, "Retry: delay"))


def _on(value: Mapping[type[Exception], RetryRule]) -> Mapping[type[Exception], RetryRule]:
    if not isinstance(cast("object", value), Mapping):
        raise InvalidQueue(
            "Retry: on must be a mapping from exception classes to what follows them, not"
            f" {value!r:.80}"
        )
    rules: dict[type[Exception], RetryRule] = {}
    for cls, rule in cast("Mapping[object, object]", value).items():
        if not (isinstance(cls, type) and issubclass(cls, Exception)):
            raise InvalidQueue(f"Retry: on must have exception classes as keys, not {cls!r:.80}")
        if issubclass(cls, Request):
            raise InvalidQueue(
                f"Retry: on cannot have {cls.__name__}: a handler raises it to go before this rule"
            )
        rules[cls] = _rule(rule, f"Retry: on[{cls.__name__}]")
    return rules


def _no_rules() -> Mapping[type[Exception], RetryRule]:
    return {}


def _check_attempts(_: object, field: attrs.Attribute[Any], value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidQueue(f"Retry: {field.name} must be a whole number, not {value!r:.80}")
    if not 1 <= value < 2**31:
        raise InvalidQueue(f"Retry: {field.name} must be from 1 to {2**31 - 1}")


@attrs.frozen(kw_only=True)
class Retry:
    """How a queue's jobs are tried again that do not say it themselves.

        Retry(
            max_attempts=8,
            delay=m25.exponential(1, factor=2, cap=300, jitter=0.2),
            on={NoSuchMailbox: m25.GIVE_UP, RateLimited: 30.0, m25.JobTimeout: 5.0},
        )

    What is said of an attempt that has failed holds for errors, crashes and missed deadlines. One
    that was lost with its process is followed by the next at once, and does not count.

    Raises:
        InvalidQueue: an option is out of range.
    """

    #: How many attempts there are at most, the first included; those that were lost do not count. A
    #: job's row may allow less.
    max_attempts: int = attrs.field(default=10, validator=_check_attempts)
    #: How long after a failure the next attempt may run: in seconds or as a `timedelta`, by
    #: `exponential`, or by a function of the job and the error, which returns one of the former, or
    #: `GIVE_UP`. Without it, a second at first, twice as long each time, up to an hour.
    delay: RetryDelay = attrs.field(factory=lambda: exponential(1), converter=_delay)
    #: The same for exceptions of these classes, declared or not, or `GIVE_UP`. Of several classes
    #: that fit, the most specific counts. A missed deadline is a `JobTimeout`.
    on: Mapping[type[Exception], RetryRule] = attrs.field(factory=_no_rules, converter=_on)

    def rule_for(self, error: BaseException) -> Checked:
        """What is said of this error."""
        for cls in type(error).__mro__:
            if cls in self.on:
                return cast("Checked", self.on[cls])
        return cast("Checked", self.delay)

    @property
    def row_delay(self) -> timedelta:
        """What a job's row says: whoever runs it, and knows nothing of this, waits so long."""
        if isinstance(self.delay, Exponential):
            return self.delay.first
        return self.delay if isinstance(self.delay, timedelta) else timedelta(0)


def as_retry(value: Any) -> Any:
    """Read the option of a queue. What is none is returned as it is: `check_retry`, which knows the
    queue's name, refuses it.
    """
    if not callable(value):
        return value
    try:
        return Retry(delay=cast("RetryFunction", value))
    except InvalidQueue:
        return value


def check_retry(name: str, value: object) -> None:
    """Refuse what is no `Retry`.

    Raises:
        InvalidQueue: it is none.
    """
    if value is None or isinstance(value, Retry):
        return
    if callable(value) and not isinstance(value, type):
        _check_function(value, name)
    raise InvalidQueue(
        f"{name} must be an m25.Retry, or a function of a job and an error; not {value!r:.80}"
    )
