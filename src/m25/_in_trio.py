"""The one loop that m25 works with, and what those are told who call it from elsewhere."""

from __future__ import annotations

import trio

from ._errors import UsageError


def check_in_trio(*what: str) -> None:
    """Refuse a call that is not made in a Trio task.

    Args:
        what: was called; in parts, which are put together only where the call is refused.

    Raises:
        UsageError: there is no Trio, or the caller is a thread beside it. It says what to do.
    """
    if not trio.lowlevel.in_trio_task():
        raise UsageError(
            f"{''.join(what)} was called outside of Trio: run the program by trio.run(main), not by"
            " asyncio.run(main); from a thread of trio.to_thread call it by trio.from_thread.run;"
            " in IPython write %autoawait trio first"
        )
