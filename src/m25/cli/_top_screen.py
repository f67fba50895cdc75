"""The screen of `m25 top`, by rich."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Final

import attrs
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.live import Live
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from .._activity import QueueRate, WorkerRecord
from .._glance import LONG_SILENCE, LONG_WAIT, count, whole
from .._operator import QueueRecord

#: Of each queue, beside its name; called as `m25 queues` calls them.
_COLUMNS: Final = (
    *("due", "oldest", "running", "scheduled", "waiting", "failed"),
    *("ended/min", "waited", "ran", "workers"),
)
#: Those without which the others are shown where there is no room for all: the first goes first.
_SPARED: Final = ("waited", "ran", "scheduled", "ended/min")
#: So wide that there is room for everything.
_ROOMY: Final = 10_000


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
    return Group(*parts, _Queues(seen, now), _workers(seen))


@attrs.frozen
class _Queues:
    """The table of queues, with the columns for which there is room."""

    seen: Seen
    now: datetime

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        roomy = options.update(max_width=_ROOMY)
        spared: tuple[str, ...] = ()
        table = _queues(self.seen, self.now, spared)
        while Measurement.get(console, roomy, table).minimum > options.max_width:
            if spared == _SPARED:
                break
            spared = _SPARED[: len(spared) + 1]
            table = _queues(self.seen, self.now, spared)
        yield table
        if spared:
            yield Text(f"there is no room for: {', '.join(spared)}", "dim")


def _queues(seen: Seen, now: datetime, spared: Sequence[str]) -> Table:
    table = Table(expand=True)
    table.add_column("queue", overflow="fold")
    for column in _COLUMNS:
        if column not in spared:
            table.add_column(column, justify="right", no_wrap=True)
    for queue in seen.queues:
        rate = seen.rates.get(queue.name)
        since = None if queue.due_since is None else max(now - queue.due_since, timedelta(0))
        title = Text(queue.name)
        if queue.paused_at is not None:
            title.append(" paused", "yellow")
        cells: Sequence[RenderableType] = (
            count(queue.due),
            Text("–") if since is None else Text(_span(since), _red(since > LONG_WAIT)),
            count(queue.running),
            count(queue.scheduled),
            count(queue.waiting),
            Text(count(queue.failed), _red(queue.failed > 0)),
            "–" if rate is None else count(rate.ended),
            "–" if rate is None else _span(rate.waited),
            "–" if rate is None else _span(rate.ran),
            Text(str(queue.workers), _red(queue.workers == 0 and queue.due > 0)),
        )
        named = zip(_COLUMNS, cells, strict=True)
        table.add_row(title, *(cell for column, cell in named if column not in spared))
    return table


def _workers(seen: Seen) -> Table:
    table = Table(expand=True)
    table.add_column("worker", no_wrap=True)
    table.add_column("m25")
    table.add_column("heard of", justify="right")
    table.add_column("queues", overflow="fold", ratio=1)
    for worker in seen.workers:
        silence = Text(f"{_span(worker.silent_for)} ago", _red(worker.silent_for > LONG_SILENCE))
        # Its second half is the same for all.
        table.add_row(worker.id[:18], worker.version, silence, Text(", ".join(worker.queues)))
    return table


def _span(length: timedelta) -> str:
    return whole(length.total_seconds())


def _red(is_bad: bool) -> str:
    return "bold red" if is_bad else ""
