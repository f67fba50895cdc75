"""Exception groups: the one thing that we ask of them."""

from __future__ import annotations

from typing import cast


def only_leaf(error: BaseException) -> BaseException | None:
    """The only exception that there is in a group, however deep; `None` where there are more.

    An exception that is no group is its own only leaf.
    """
    while isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        if len(group.exceptions) != 1:
            return None
        error = group.exceptions[0]
    return error
