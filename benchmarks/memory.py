"""S13: memory of a worker process after a million jobs, beside that after fifty thousand."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import attrs
import trio

import m25

from . import databases, report


@attrs.frozen
class Email:
    to: str
    number: int


def resident() -> int:
    """Bytes of this process that are in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def work(dsn: str, few: int, many: int) -> None:
    """The worker process: prints its memory after few jobs, and after many."""
    run = 0
    done = trio.Event()

    @m25.queue("memory", max_concurrency=100)
    async def handler(email: Email) -> int:
        nonlocal run
        run += 1
        if run == few:
            print(resident(), flush=True)
        if run == many:
            done.set()
        return email.number

    async with m25.open(dsn) as m:
        m.add_queue(handler)
        await m.start()
        await done.wait()
        print(resident(), flush=True)


def measure(dsn: str, few: int, many: int) -> dict[str, float]:
    """Bytes in memory of one worker process, after few jobs, and after many."""
    databases.fill(dsn, "memory", many)
    command = [sys.executable, "-m", "benchmarks.memory", dsn, str(few), str(many)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    before, after = map(int, said.split())
    assert databases.count(dsn, "succeeded") == many
    return {"before": before, "after": after, "ratio": after / before}


def main(*, quick: bool = False) -> list[report.Verdict]:
    few, many, runs = (10_000, 60_000, 1) if quick else (50_000, 1_000_000, 3)
    with databases.server() as dsn:
        found = [measure(dsn, few, many) for _ in range(runs)]
        medians = report.medians(found)
        report.show(
            f"S13: memory of a worker process (median of {runs})",
            [
                ("after", "MB"),
                (f"{few:,} jobs", f"{medians['before'] / 1e6:.1f}"),
                (f"{many:,} jobs", f"{medians['after'] / 1e6:.1f}"),
            ],
        )
        verdicts = [report.at_most("S13", f"memory after {many:,} jobs", medians["ratio"], 1.1)]
        report.write("memory", dsn, {"runs": found, "medians": medians}, verdicts)
    return verdicts


if __name__ == "__main__":
    trio.run(work, sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
