"""Exception groups that hold a single exception."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import cast


def only_leaf(error: BaseException) -> BaseException | None:
    """The only exception in a group and the groups within it; `None` where there are several.

    An exception that is no group is its own only leaf.
    """
    while isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        if len(group.exceptions) != 1:
            return None
        error = group.exceptions[0]
    return error


@contextmanager
def without_nursery() -> Generator[None]:
    """Take away the group that the one nursery in this block puts around what is raised.

    A group that was raised inside the nursery comes out as it was, of one exception or of many.
    """
    try:
        yield
    except BaseExceptionGroup as group:
        # Where the block is cancelled, so are the tasks behind it: that says nothing new.
        # Only here, since programs without Trio come by this module, too.
        import trio

        _, rest = group.split(trio.Cancelled)
        raised = list((group if rest is None else rest).exceptions)
        if len(raised) > 1 and rest is not None:
            raise
        error: BaseException = raised[0]
        # What it was raised in the midst of is its own affair, and no longer so once it is raised
        # in the midst of the group.
        context = error.__context__
        try:
            raise error
        finally:
            error.__context__ = context
            del rest, raised, error, context


@contextmanager
def unwrapped() -> Generator[None]:
    """Raise the only exception of a group by itself: that a nursery made the group says nothing."""
    try:
        yield
    except BaseExceptionGroup as group:
        error = only_leaf(group)
        if error is None:
            raise
        # The group says nothing that the exception itself does not.
        raise error from error.__cause__
