"""Checks of a queue's options: each raises `InvalidQueue`, which says what is wrong."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Collection, Generator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, cast

from ._duration import Duration, as_timedelta
from ._errors import InvalidQueue
from ._handler_errors import Request
from ._signature import function_of, is_required
from ._text import check_text

if TYPE_CHECKING:
    from ._queue import Queue

#: A longer name does not fit into a PostgreSQL index entry beside the rest of the entry.
_LONGEST_NAME: Final = 1_000


@contextmanager
def _sync() -> Generator[None]:
    yield


#: The code of every function that `contextlib.contextmanager` has decorated.
_SYNC_MAKER: Final[object] = getattr(_sync, "__code__", None)


def seconds(value: Duration) -> timedelta:
    """Read a duration. A value that is none is returned as it is: the option's validator, which
    knows the queue's name, refuses it.
    """
    try:
        return as_timedelta(value, "", InvalidQueue)
    except InvalidQueue:
        return cast("timedelta", value)


def check_duration(name: str, value: object) -> None:
    as_timedelta(value, name, InvalidQueue)


def check_whole(low: int, high: int) -> Callable[[str, object], None]:
    def check(name: str, value: object) -> None:
        if not isinstance(value, int) or isinstance(value, bool):
            raise InvalidQueue(f"{name} must be a whole number, not {value!r:.80}")
        if not low <= value <= high:
            raise InvalidQueue(f"{name} must be from {low} to {high}")

    return check


def check_flag(name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise InvalidQueue(f"{name} must be True or False, not {value!r:.80}")


#: A handler that is cancelled for its lease has a quarter of that to end: with less than this, in
#: seconds, the pauses that every process makes would be longer.
_SHORTEST_EXCLUSIVE_LEASE: Final = 1.0
#: With fewer, one heartbeat that is late would cancel every handler.
_FEWEST_EXCLUSIVE_MISSES: Final = 2


def check_exclusive(queue: Queue[Any, Any, Any]) -> None:
    """Check that an exclusive queue can be one."""
    if queue.runs == "thread":
        raise InvalidQueue(
            'exclusive=True cannot be had with runs="thread": nothing ends a thread, and the worker'
            ' must end a handler whose lease it cannot renew; runs="process" can be killed'
        )
    if queue.allowed_heartbeat_misses < _FEWEST_EXCLUSIVE_MISSES:
        raise InvalidQueue(
            f"allowed_heartbeat_misses must be at least {_FEWEST_EXCLUSIVE_MISSES} with"
            " exclusive=True: a handler is cancelled after three quarters of its lease, and until"
            " then a heartbeat must have time to be tried again"
        )
    if queue.lease.total_seconds() < _SHORTEST_EXCLUSIVE_LEASE:
        raise InvalidQueue(
            "heartbeat_interval × (allowed_heartbeat_misses + 1) must be at least"
            f" {_SHORTEST_EXCLUSIVE_LEASE:g} s with exclusive=True: a quarter of it is all the time"
            " that a handler has to end once it is cancelled"
        )


def check_options(name: object, given: Iterable[str], known: Collection[str]) -> None:
    """Refuse options that there are not.

    Raises:
        TypeError: there is none of such a name, as for any call. It says which one was meant.
    """
    for option in given:
        if option not in known:
            near = difflib.get_close_matches(option, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(known))}"
            raise TypeError(f"queue {name!r:.80}: there is no option {option!r}; {hint}")


def check_name(_: str, value: object) -> None:
    name = check_text(value, "a queue's name", InvalidQueue)
    if len(name.encode()) > _LONGEST_NAME:
        raise InvalidQueue(
            f"a queue's name must be at most {_LONGEST_NAME} bytes long in UTF-8, and this one is "
            f"{len(name.encode())}"
        )


#: Where a handler runs: in Trio's own thread, in another thread, or in a process of its own.
RUNS: Final = ("trio", "thread", "process")


def check_runs(name: str, value: object) -> None:
    if value not in RUNS:
        known = ", ".join(map(repr, RUNS))
        raise InvalidQueue(f"{name} must be one of {known}, not {value!r:.80}")


#: What is done with a job in whose input something is not known.
UNKNOWN_FIELDS: Final = ("release", "refuse", "ignore")


def check_unknown_fields(name: str, value: object) -> None:
    if value not in UNKNOWN_FIELDS:
        known = ", ".join(map(repr, UNKNOWN_FIELDS))
        raise InvalidQueue(f"{name} must be one of {known}, not {value!r:.80}")


def check_place(queue: Queue[Any, Any, Any]) -> None:
    """Check that what the handler is to be given can be had where it runs."""
    if queue.runs == "process":
        for name in ("setup", "lifespan"):
            if getattr(queue, name) is not None:
                raise InvalidQueue(
                    f'{name} cannot be had with runs="process": what it yields would be in another '
                    "process than the handler; what the handlers of a process share can be kept in "
                    "their module"
                )
    if queue.transactional and queue.runs != "trio":
        raise InvalidQueue(
            f"transactional=True cannot be had with runs={queue.runs!r}: the connection of its"
            " transaction is used by Trio, in this process"
        )


def check_handler(value: object, runs: object) -> None:
    """Check that a handler is the kind of function that can run there."""
    wanted = "an async function" if runs == "trio" else "a function"
    if not callable(value):
        raise InvalidQueue(f"the handler must be {wanted}, not {value!r:.80}")
    function = function_of(value)
    called = getattr(function, "__call__", None)  # noqa: B004
    if isinstance(function, type):
        raise InvalidQueue(f"the handler must be {wanted}, not a class")
    is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(called)
    yields = any(
        inspect.isgeneratorfunction(each) or inspect.isasyncgenfunction(each)
        for each in (function, called)
    )
    if yields:
        kind = "an async function (`async def`)" if runs == "trio" else "a plain `def`"
        raise InvalidQueue(
            f"the handler must be {kind}; it has a `yield`, and a handler returns its output"
        )
    if runs == "trio" and not is_async:
        raise InvalidQueue(
            "the handler must be an async function (`async def`); a blocking one can be run from "
            'it with trio.to_thread.run_sync, or as a queue with runs="thread" or runs="process"'
        )
    if runs != "trio" and is_async:
        raise InvalidQueue(
            f"runs={runs!r} is for a plain `def`, and the handler is an `async def`, which runs in "
            "Trio: leave `runs` out, or take `async` away"
        )


def check_errors(_: str, value: object) -> None:
    if not isinstance(value, tuple):
        raise InvalidQueue(f"errors must be a tuple of exception classes, not {value!r:.80}")
    seen: set[object] = set()
    for error in cast("tuple[object, ...]", value):
        if not (isinstance(error, type) and issubclass(error, Exception)):
            raise InvalidQueue(f"errors must hold subclasses of Exception, not {error!r:.80}")
        if issubclass(error, Request):
            raise InvalidQueue(
                f"errors cannot hold {error.__name__}: it says what is to become of a job, and may"
                " be raised `from` a declared error"
            )
        if error in seen:
            raise InvalidQueue(f"errors holds {error.__name__} twice")
        seen.add(error)


def check_context(name: str, value: object) -> None:
    """Check a function that is to return an async context manager: a setup, or a lifespan."""
    if value is not None:
        check_context_maker(name, value, InvalidQueue)


def check_context_maker(
    name: str, value: object, error: type[Exception], given: Sequence[str] = ()
) -> None:
    """Check a function that is called with what is `given`, in words, and is to return an async
    context manager.

    Raises:
        error: it cannot be called so, or surely returns something else.
    """
    # A context manager that contextlib made can be called, too, as a decorator: it is no function
    # that returns one.
    if not callable(value) or isinstance(value, AbstractAsyncContextManager):
        raise error(
            f"{name} must be a function that returns an async context manager, not {value!r:.80}"
        )
    function = function_of(value)
    if inspect.isasyncgenfunction(function) or inspect.iscoroutinefunction(function):
        raise error(
            f"{name} must return an async context manager: decorate it with "
            "@contextlib.asynccontextmanager, and let it yield once"
        )
    if _is_never_async(function):
        raise error(
            f"{name} must return an async context manager, and this one's is not async: for a "
            "generator that is `async def` and @contextlib.asynccontextmanager, for a class "
            "__aenter__ and __aexit__"
        )
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):
        return
    try:
        signature.bind(*given)
    except TypeError:
        parameters = signature.parameters.values()
        takes = [each.name for each in parameters if given or is_required(each)]
        called = f"with {', '.join(given)}" if given else "without arguments"
        raise error(
            f"{name} is called {called}, and takes ({', '.join(takes)}); a partial or a closure "
            "can bring what else it needs"
        ) from None


def _is_never_async(maker: Any) -> bool:
    """Whether what it returns is surely no async context manager."""
    if isinstance(maker, type):
        # A class with a `__new__` of its own, or a metaclass, may return anything.
        new: object = maker.__new__
        makes_itself = type(maker) is type and new is object.__new__
        return makes_itself and not hasattr(maker, "__aenter__")
    return inspect.isgeneratorfunction(maker) or getattr(maker, "__code__", None) is _SYNC_MAKER


def check_callable(name: str, value: object) -> None:
    if value is not None and not callable(value):
        raise InvalidQueue(f"{name} must be a function, not {value!r:.80}")


def failure_cycle(queues: Sequence[Queue[Any, Any, Any]]) -> Sequence[str]:
    """The names of queues of which each is told of the failures of the one before, in a circle.

    They are those that are given, and all that these name; empty if there is no circle.
    """
    # Of two queues of one name, the one that is given counts.
    targets = {queue.name: queue.on_failure_name for queue in queues}
    for queue in queues:
        each = queue.on_failure
        while each is not None:
            targets.setdefault(each.name, each.on_failure_name)
            each = each.on_failure
    for name in targets:
        path = [name]
        while (target := targets.get(path[-1])) is not None:
            if target in path:
                return [*path[path.index(target) :], target]
            path.append(target)
    return []
