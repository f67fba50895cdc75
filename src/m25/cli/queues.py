"""`m25 queues`: every queue, and what is on it."""

from __future__ import annotations

import argparse
from functools import partial
from typing import Final

from .._client import M25
from .._operator import MOST_COUNTED, QueueRecord
from . import _asking
from ._console import Console
from ._exits import DONE
from ._tables import as_json, table
from ._words import ago

_DESCRIPTION: Final = f"""\
List every queue that has jobs which have not ended or have failed, or that a worker has run, or
somebody has paused. Jobs are counted up to {MOST_COUNTED:,}."""

_COLUMNS: Final = (
    "queue",
    "due",
    "oldest",
    "scheduled",
    "waiting",
    "running",
    "failed",
    "workers",
    "state",
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.description = _DESCRIPTION
    parser.epilog = _asking.epilog("m25 queues", "m25 queues --json | jq -r '.[].name'")
    _asking.add_options(parser)


def run(options: argparse.Namespace, console: Console) -> int:
    """List them, and return the exit code."""
    return _asking.run(options, console, partial(_list, options, console))


async def _list(options: argparse.Namespace, console: Console, m: M25) -> int:
    queues = await m.queues()
    if options.json:
        console.data(as_json(queues))
    elif queues:
        console.data(table(_COLUMNS, [_row(queue) for queue in queues]))
    else:
        console.say("no queue has any job, and no worker has run one")
    return DONE


def _row(queue: QueueRecord) -> list[object]:
    return [
        queue.name,
        queue.due,
        None if queue.due_since is None else ago(queue.due_since),
        queue.scheduled,
        queue.waiting,
        queue.running,
        queue.failed,
        queue.workers,
        _state(queue),
    ]


def _state(queue: QueueRecord) -> str:
    if queue.paused_at is not None:
        why = "" if queue.pause_reason is None else f" ({queue.pause_reason})"
        return f"paused for {ago(queue.paused_at)}{why}"
    if queue.due and not queue.workers:
        return "no worker"
    return ""
