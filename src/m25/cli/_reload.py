"""For development: the processes of a worker begin anew when a Python file has changed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Final

import trio

from .._groups import unwrapped
from ..pg._backoff import Backoff

_logger: Final = logging.getLogger("m25.worker")

#: How long changes are collected before they are told, in milliseconds: an editor writes a file in
#: several steps, and a checkout writes many files.
_DEBOUNCE: Final = 400
#: After how many seconds files are watched again where that has failed: at first, and at most.
_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 30.0


async def watch(directory: Path, changed: Callable[[], None]) -> None:
    """Call `changed` whenever Python files below a directory have changed, until cancelled.

    Where they cannot be watched, that is logged, and tried again: the processes go on.
    """
    backoff = Backoff(_FIRST_PAUSE, _LONGEST_PAUSE)
    while True:
        try:
            # watchfiles has a nursery of its own.
            with unwrapped():
                await _watch(directory, changed)
        # What watchfiles raises is one or the other: a file's name may be no text, as in an archive
        # from elsewhere, or the system has no more watches.
        except (OSError, RuntimeError) as error:
            pause = backoff.failed()
            _logger.error(
                "%s cannot be watched, and changes are not seen; it is tried again in %.1f s: %s",
                directory,
                pause,
                error,
            )
            await trio.sleep(pause)


async def _watch(directory: Path, changed: Callable[[], None]) -> None:
    """The same, until it fails.

    watchfiles waits for changes in a thread of its own, which ends with this call.
    """
    from watchfiles import PythonFilter, awatch

    files = awatch(directory, watch_filter=PythonFilter(), debounce=_DEBOUNCE)
    async with aclosing(files):
        async for changes in files:
            names = sorted({str(Path(path).relative_to(directory)) for _, path in changes})
            _logger.info("changed: %s; all processes begin anew", ", ".join(names))
            changed()
