"""Cancels with a reason, for those who are cancelled; and exceptions that do not repeat it."""

from __future__ import annotations

import inspect
from typing import Any, Final, cast

import trio

#: Trio takes a reason from 0.31 on; before that a `Cancelled` says nothing.
_TAKES_REASON: Final = "reason" in inspect.signature(trio.CancelScope.cancel).parameters


def cancel(scope: trio.CancelScope, reason: str) -> None:
    """Cancel a scope; each `Cancelled` that its code is given has the reason, where Trio can."""
    if _TAKES_REASON:
        scope.cancel(reason=reason)
    else:
        scope.cancel()


def forget_reasons(error: BaseException) -> None:
    """Take the reasons out of every `Cancelled` that an exception's traceback would print.

    A nursery cancels its tasks with the text of the exception that one of them raised. So what a
    handler raises while it is being cancelled would bring the payload of a stranger into its own
    log line, and into its own row.
    """
    seen: set[int] = set()
    left: list[BaseException | None] = [error]
    while left:
        each = left.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        left += (each.__cause__, each.__context__)
        if isinstance(each, BaseExceptionGroup):
            left += cast("BaseExceptionGroup[BaseException]", each).exceptions
        elif _TAKES_REASON and isinstance(each, trio.Cancelled):
            cancelled: Any = each
            cancelled.reason = cancelled.source_task = None
