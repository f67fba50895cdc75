"""The account at the end of the demo: counts of rows, beside the counts that they must be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any, Final

import attrs

from m25 import migrations, pg

#: The name of an act, and what is counted of its jobs.
Entry = tuple[str, str]

#: Counts that must be 0, whatever was enqueued.
NEVER: Final[Mapping[Entry, int]] = {
    ("all", "started too early"): 0,
    ("all", "retried too early"): 0,
    ("all", "succeeded twice"): 0,
}


@attrs.frozen
class Line:
    """One line of the account."""

    act: str
    what: str
    expected: int
    found: int

    @property
    def is_right(self) -> bool:
        """Whether the rows say what they should."""
        return self.expected == self.found


def compare(expected: Mapping[Entry, int], found: Mapping[Entry, int]) -> Sequence[Line]:
    """A line for every entry of either; an entry that is missing in one of them counts as 0."""
    entries = dict.fromkeys([*expected, *found])
    return [Line(*entry, expected.get(entry, 0), found.get(entry, 0)) for entry in entries]


async def read(connection: pg.AsyncConnection[Any], schema: str) -> Mapping[Entry, int]:
    """Count the rows, by `account.sql`."""
    text = (
        resources.files(__name__.rpartition(".")[0])
        .joinpath("account.sql")
        .read_text(encoding="utf-8")
    )
    cursor = await connection.execute(text.replace("{schema}", migrations.quote(schema)).encode())
    return {(act, what): int(found or 0) for act, what, found in await cursor.fetchall()}


async def count_by_status(
    connection: pg.AsyncConnection[Any], schema: str
) -> Mapping[str, Counter[str]]:
    """How many jobs of each queue are in which status now."""
    table = f"{migrations.quote(schema)}.job"
    statement = f"select queue_name, status, count(*) from {table} group by 1, 2 order by 1"  # noqa: S608
    cursor = await connection.execute(statement.encode())
    counts: dict[str, Counter[str]] = {}
    for queue, status, count in await cursor.fetchall():
        counts.setdefault(queue, Counter())[status] = count
    return counts
