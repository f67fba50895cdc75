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
