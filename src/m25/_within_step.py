"""Which step's function is calling: what it numbers has numbers of that step's own.

What a handler does without a key is known by its number when the handler runs again. Then the
function of a kept step is not called. Had it counted along with the handler, all that comes after
the step would have other numbers in that run, and be given the values of something else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

import attrs

#: In hexadecimal digits; among the steps of one job these are enough to tell them apart.
_LENGTH: Final = 16


@attrs.frozen(eq=False)
class StepCall:
    """One call of a step's function. Each counts from the start: so one that follows another, which
    failed, finds what that one had kept.
    """

    #: What all numbers within it begin with: names the step, and those that it is within.
    prefix: str


_call: Final[ContextVar[StepCall | None]] = ContextVar("m25_step", default=None)


def step_call() -> StepCall | None:
    """The innermost call of a step's function that the caller is in."""
    return _call.get()


def prefix() -> str:
    """What the numbers here begin with; nothing outside of steps."""
    call = _call.get()
    return "" if call is None else call.prefix


@contextmanager
def within_step(name: str, key: str) -> Generator[None]:
    """A block in which the function of a step is called."""
    said = f"{prefix()}\0{name}\0{key}".encode()
    call = StepCall(f"in {hashlib.sha256(said).hexdigest()[:_LENGTH]} ")
    token = _call.set(call)  # rule: a step has numbers of its own
    try:
        yield
    finally:
        _call.reset(token)
