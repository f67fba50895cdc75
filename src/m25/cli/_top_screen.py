"""The screen of `m25 top`, by rich."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Final

import attrs
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from .._activity import QueueRate, WorkerRecord
from .._operator import MOST_COUNTED, QueueRecord

#: From when on something is shown in red: a job waits, or a worker has said nothing, for so long.
_LONG_WAIT: Final = timedelta(minutes=1)
_LONG_SILENCE: Final = timedelta(seconds=90)

#: Of each queue, beside its name.
_COLUMNS: Final = (
    *("due", "since", "running", "later", "waiting", "failed"),
    *("ended/min", "waited", "ran", "workers"),
)

_UNITS: Final = ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min"), (1.0, "s"), (0.001, "ms"))


@attrs.define
class Seen:
    """What was seen last."""

    #: Where the database is.
    target: str
    queues: Sequence[QueueRecord] = ()
    rates: Mapping[str, QueueRate] = attrs.field(factory=dict[str, QueueRate])
    workers: Sequence[WorkerRecord] = ()
    #: Why the latest look has failed, if it has.
    failure: str | None = None


class Screen:
    """One for each run of the command."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console()

    def show(self, seen: Seen) -> None:
        """Print what was seen."""
        self._console.print(render(seen, datetime.now(UTC)))

    @contextmanager
    def live(self) -> Generator[Callable[[Seen], None]]:
        """A block in which what is seen takes the place of what was seen before."""
        # By itself rich would draw again and again, in a thread.
        with Live(console=self._console, screen=True, auto_refresh=False) as live:
            yield lambda seen: live.update(render(seen, datetime.now(UTC)), refresh=True)


def render(seen: Seen, now: datetime) -> RenderableType:
    """All that is shown."""
    title = Text(f"m25 top: {seen.target}, {now:%H:%M:%S} UTC")
    parts: list[RenderableType] = [title]
    if seen.failure is not None:
        parts.append(Text(f"the database does not answer: {seen.failure}", "bold red"))
    return Group(*parts, _queues(seen, now), _workers(seen))


def _queues(seen: Seen, now: datetime) -> Table:
    table = Table(expand=True)
    table.add_column("queue", overflow="fold")
    for column in _COLUMNS:
        table.add_column(column, justify="right")
    for queue in seen.queues:
        rate = seen.rates.get(queue.name)
        since = None if queue.due_since is None else max(now - queue.due_since, timedelta(0))
        title = Text(queue.name)
        if queue.paused_at is not None:
            title.append(" paused", "yellow")
        table.add_row(
            title,
            _count(queue.due),
            Text("–") if since is None else Text(span(since), _red(since > _LONG_WAIT)),
            _count(queue.running),
            _count(queue.scheduled),
            _count(queue.waiting),
            Text(_count(queue.failed), _red(queue.failed > 0)),
            "–" if rate is None else _count(rate.ended),
            "–" if rate is None else span(rate.waited),
            "–" if rate is None else span(rate.ran),
            Text(str(queue.workers), _red(queue.workers == 0 and queue.due > 0)),
        )
    return table


def _workers(seen: Seen) -> Table:
    table = Table(expand=True)
    table.add_column("worker", no_wrap=True)
    table.add_column("m25")
    table.add_column("heard of", justify="right")
    table.add_column("queues", overflow="fold", ratio=1)
    for worker in seen.workers:
        silence = Text(f"{span(worker.silent_for)} ago", _red(worker.silent_for > _LONG_SILENCE))
        # Its second half is the same for all.
        table.add_row(worker.id[:18], worker.version, silence, Text(", ".join(worker.queues)))
    return table


def span(length: timedelta) -> str:
    """A time in words, in the largest unit of which there is one or more."""
    seconds = length.total_seconds()
    for unit_length, unit in _UNITS:
        if seconds >= unit_length:
            return f"{seconds / unit_length:.0f} {unit}"
    return "0 s"


def _count(number: int) -> str:
    return f"{number:,}" + ("+" if number >= MOST_COUNTED else "")


def _red(is_bad: bool) -> str:
    return "bold red" if is_bad else ""
