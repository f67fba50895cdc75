"""The modules whose queues a worker runs."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any, Final, TypeAlias, cast

import attrs

from .._client import M25
from .._queue import Queue
from ._exits import WrongUsage

#: What a module may do to the client before its queues are started: add schedules, for one.
Prepare: TypeAlias = Callable[[M25], None]

#: How a module and its function are written on the command line.
SYNTAX: Final = "MODULE[:FUNCTION]"

#: What a function may say of the client that is opened. All else is the command line's.
OPTIONS: Final = frozenset(
    ("around", "listeners", "max_waiting", "pool_size", "tracer", "transactional_connections")
)


class WrongModule(WrongUsage):
    """A module cannot be imported, or has nothing to run; the message says what to do."""


@attrs.frozen
class Work:
    """What a worker runs."""

    queues: Sequence[Queue[Any, Any, Any]]
    prepare: Sequence[Prepare]

    def add_to(self, m: M25) -> None:
        """Add the queues to a client, and let the modules' functions prepare it."""
        for queue in self.queues:
            m.add_queue(queue)
        for prepare in self.prepare:
            prepare(m)


def load(targets: Sequence[str], names: Sequence[str]) -> Work:
    """Import modules, and find their queues: all, or those of `names`.

    Raises:
        WrongModule: one cannot be imported, or has no such function; two different queues have one
            name; or there is no queue at all, or none of a name that was asked for.
    """
    _look_here()
    queues: dict[str, Queue[Any, Any, Any]] = {}
    prepare: list[Prepare] = []
    for target in targets:
        module_name, _, function_name = target.partition(":")
        module = _import(module_name)
        for queue in _queues_of(module):
            if queues.setdefault(queue.name, queue) is not queue:
                raise WrongModule(
                    f"{module_name}: another queue is named {queue.name!r}, too; names of queues"
                    " are unique within a worker"
                )
        if function_name:
            prepare.append(_function_of(module, function_name))
    if unknown := sorted(set(names) - set(queues)):
        known = ", ".join(map(repr, sorted(queues))) or "none at all"
        raise WrongModule(f"no queue is named {unknown[0]!r} in {' '.join(targets)}: found {known}")
    if not queues and not prepare:
        raise WrongModule(
            f"{' '.join(targets)}: there is no queue in it; a queue is what @m25.queue makes, in a"
            " variable of the module"
        )
    return Work([queues[name] for name in names or queues], prepare)


def load_opening(target: str | None) -> Callable[[], Mapping[str, Any]]:
    """Import `MODULE:FUNCTION`; what is returned calls it, for arguments of `m25.open` by name.

    Raises:
        WrongModule: it cannot be imported; or, by what is returned, it raises, or returns something
            else.
    """
    if target is None:
        return dict
    _look_here()
    module_name, _, name = target.partition(":")
    function: Any = getattr(_import(module_name), name, None)
    if not callable(function):
        raise WrongModule(f"--open {target}: MODULE:FUNCTION is wanted, and there is no such one")

    def opening() -> Mapping[str, Any]:
        try:
            given: object = function()
        except Exception as error:
            raise WrongModule(f"--open {target} has raised:\n{traceback.format_exc()}") from error
        options = cast("Mapping[str, Any]", given) if isinstance(given, Mapping) else None
        if options is None or not OPTIONS.issuperset(options):
            raise WrongModule(
                f"--open {target} must return arguments of m25.open as a mapping, of these:"
                f" {', '.join(sorted(OPTIONS))}; not {given!r:.80}"
            )
        return options

    return opening


def _look_here() -> None:
    # As `python -m` has it: modules are looked for where the command is run.
    if (here := os.getcwd()) not in sys.path:  # noqa: PTH109 - sys.path has texts
        sys.path.insert(0, here)


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise WrongModule(
                f"there is no module {name!r}: name it as for `python -m`, from the directory in"
                " which its package lies"
            ) from error
        raise WrongModule(_why(name)) from error
    # Whatever the module does when it is imported, a `sys.exit` among it.
    except (Exception, SystemExit) as error:
        raise WrongModule(_why(name)) from error


def _why(name: str) -> str:
    return f"{name} cannot be imported:\n{traceback.format_exc()}"


def _queues_of(module: ModuleType) -> list[Queue[Any, Any, Any]]:
    found: list[Any] = [value for value in vars(module).values() if isinstance(value, Queue)]
    # One queue may have several names in a module.
    return list(dict.fromkeys(found))


def _function_of(module: ModuleType, name: str) -> Prepare:
    function: Any = getattr(module, name, None)
    if not callable(function) or inspect.iscoroutinefunction(function):
        raise WrongModule(
            f"{module.__name__}:{name} must be a function that takes the client and returns"
            " nothing, as `def prepare(m: m25.M25) -> None`"
        )
    return cast("Prepare", function)
