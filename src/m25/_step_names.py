"""Names and keys of steps: which of a job's steps is which, in this run and in later ones."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from typing import Final

import attrs

from ._errors import UsageError
from ._text import check_text
from ._within_step import StepCall, prefix, step_call

#: In characters, of a name and of a key: together they have to fit into an entry of the index.
_LONGEST: Final = 250


def check_name(value: str, what: str) -> None:
    """Check the name of a step or of a message, or a key.

    Raises:
        ValueError: it is empty, longer than 250 characters, or no text that PostgreSQL can hold.
    """
    if len(check_text(value, what, ValueError)) > _LONGEST:
        raise ValueError(f"{what} must be at most {_LONGEST} characters long")


@attrs.frozen
class Call:
    """What a step is to do: its function, and the fingerprint of what that is given."""

    function: object
    fingerprint: str

    def is_same(self, other: Call) -> bool:
        """Whether two calls surely do the same. Where functions are made anew for each call, and
        may have bound other values, that is not known.
        """
        return self.fingerprint == other.fingerprint and _is_same(self.function, other.function)


@attrs.define
class Use:
    """One use of a name."""

    key: str
    #: Whether the step is kept by now; to be set before the block of the use is left.
    is_kept: bool = False


class StepNames:
    """How a run of the handler uses the names of its steps."""

    def __init__(self) -> None:
        self._names: dict[str, _Name] = {}
        #: For each call of a step's function, and outside of these.
        self._counts: dict[tuple[StepCall | None, str], _Count] = {}

    @contextmanager
    def used(self, name: str, key: str | None, call: Call) -> Generator[Use]:
        """A block in which a step is done.

        Raises:
            UsageError: it could be taken for another one.
        """
        uses = self._names.setdefault(name, _Name())
        if (uses.has_keys and key is None) or (uses.is_counted and key is not None):
            raise UsageError(
                f"step {name!r}: some steps of this name have a key, and others are told apart"
                " by their count: give all of them a key, or none"
            )
        if key is None:
            uses.is_counted = True
            count = self._counts.setdefault((step_call(), name), _Count())
            with count.used(name, call) as use:
                yield use
        else:
            uses.has_keys = True
            with uses.used(name, key) as use:
                yield use


@attrs.define
class _Name:
    """How a name is used."""

    #: Whether some of its steps had no key, and whether some had one.
    is_counted: bool = False
    has_keys: bool = False
    #: The keys of those that are being done.
    _running: set[str] = attrs.field(factory=set[str])
    #: The keys of those that are kept and were asked for in this run, each with the step within
    #: which it was.
    _done: dict[str, StepCall | None] = attrs.field(factory=dict[str, "StepCall | None"])

    @contextmanager
    def used(self, name: str, key: str) -> Generator[Use]:
        if key in self._running:
            raise UsageError(f"step {name!r}: the step with the key {key!r} is under way already")
        within = step_call()
        # Where the step around it has failed and is called again, it is the same step.
        # rule: a key is of one step
        if key in self._done and not _is_called_again(self._done[key], within):
            raise UsageError(
                f"step {name!r}: this handler has done a step with the key {key!r} before, and a"
                " second one would not be done: give each a key of its own, or use what the first"
                " has returned"
            )
        use = Use(key)
        self._running.add(key)
        try:
            yield use
        finally:
            self._running.discard(key)
            if use.is_kept:
                self._done[key] = within


@attrs.define
class _Count:
    """The steps of one name that have no key."""

    #: How many there were.
    _used: int = 0
    _is_running: bool = False
    #: The keys of those that came to nothing, in order, each with what was to be done.
    _undone: list[tuple[str, Call]] = attrs.field(factory=list[tuple[str, Call]])

    @contextmanager
    def used(self, name: str, call: Call) -> Generator[Use]:
        if self._is_running:
            raise UsageError(
                f"step {name!r}: another step of this name is under way, and which of them"
                " is which depends on which begins first: give each a key=, by which a later"
                " attempt knows it again"
            )
        use = Use(self._key_of(call))
        self._is_running = True
        try:
            yield use
        finally:
            self._is_running = False
            if not use.is_kept:
                self._undone.append((use.key, call))

    def _key_of(self, call: Call) -> str:
        for number, (key, undone) in enumerate(self._undone):
            if undone.is_same(call):  # rule: a step that is called again is the same
                del self._undone[number]
                return key
        self._used += 1
        return f"{prefix()}{self._used - 1}"


def _is_called_again(one: StepCall | None, other: StepCall | None) -> bool:
    """Whether two calls are of the same step's function, one after the other."""
    if one is None or other is None:
        return False
    return one is not other and one.prefix == other.prefix


def _is_same(one: object, other: object) -> bool:
    if isinstance(one, partial) and isinstance(other, partial):
        return (
            one.func == other.func
            and list(one.keywords) == list(other.keywords)
            and _are_identical(one.args, other.args)
            and _are_identical(tuple(one.keywords.values()), tuple(other.keywords.values()))
        )
    return one == other


def _are_identical(some: tuple[object, ...], others: tuple[object, ...]) -> bool:
    return len(some) == len(others) and all(
        one is other for one, other in zip(some, others, strict=True)
    )
