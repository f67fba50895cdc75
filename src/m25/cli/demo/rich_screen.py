"""The live table, drawn by rich."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.box import SIMPLE
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from .account import Line
from .screen import STATUSES, Clock, View, verdict


class RichScreen:
    """Events scroll by; the table below them has the jobs of each queue by status."""

    def __init__(self) -> None:
        self._console = Console()
        self._clock = Clock()
        # We draw it when there is something new, so that rich needs no thread for it.
        self._live = Live(console=self._console, auto_refresh=False, transient=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        self._live.stop()

    def say(self, event: str) -> None:
        """Show an event."""
        self._console.print(Text.assemble((f"{self._clock}  ", "dim"), event))

    def show(self, view: View) -> None:
        """Show how the queues stand."""
        table = Table(box=SIMPLE)
        table.add_column("queue")
        for status in STATUSES:
            table.add_column(status, justify="right")
        for queue, counts in view.counts.items():
            table.add_row(queue, *(str(counts[status] or "") for status in STATUSES))
        progress = Table.grid(padding=(0, 1))
        progress.add_row(
            ProgressBar(total=max(view.files, 1), completed=view.files_done, width=50),
            f"{view.files_done} of {view.files} files",
        )
        self._live.update(
            Group(table, Text("   ".join(view.workers), style="dim"), progress), refresh=True
        )

    def account(self, lines: Sequence[Line]) -> None:
        """Show the account as a table."""
        self._live.stop()
        table = Table(box=SIMPLE)
        table.add_column("act")
        table.add_column("what the rows say")
        table.add_column("expected", justify="right")
        table.add_column("found", justify="right")
        table.add_column("")
        act = ""
        for line in lines:
            table.add_row(
                "" if line.act == act else line.act,
                line.what,
                str(line.expected),
                str(line.found),
                Text(verdict(line), style="green" if line.is_right else "bold red"),
            )
            act = line.act
        self._console.print(table)
