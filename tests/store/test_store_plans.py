"""Every statement finds its rows by an index, whatever the statistics were when it was planned."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from m25 import pg
from m25._store.postgres import prepare_connection
from m25._store.statements import as_prepared, load_statements

#: By name: those that look at the job table.
STATEMENTS = {
    name: as_prepared(name, text)
    for name, text in load_statements("m25").items()
    if re.search(rb'"job"|\.job\b', text)
}


def scans(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What in a plan looks for rows of the job table."""
    if node.get("Relation Name") == "job" and node["Node Type"].endswith("Scan"):
        yield node
    for below in node.get("Plans", ()):
        yield from scans(below)


@pytest.mark.parametrize("state", ["never vacuumed", "vacuumed while empty", "with a few rows"])
async def test_a_plan_made_for_a_small_table_is_right_for_a_large_one(dsn: str, state: str) -> None:
    async with await pg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        await prepare_connection(connection)
        if state == "with a few rows":
            await connection.execute(
                "insert into m25.job (queue_name, input, timeout, attempt)"
                " select 'q', '1', '1 minute', 1 from generate_series(1, 30)"
            )
        if state != "never vacuumed":
            await connection.execute("vacuum analyze m25.job")
        for name, statement in STATEMENTS.items():
            await connection.execute(b"prepare planned as " + statement.text)
            values = ", ".join(["null"] * len(statement.parameters))
            cursor = await connection.execute(
                f"explain (format json) execute planned ({values})".encode()
            )
            ((plan,),) = await cursor.fetchall()
            found = list(scans(plan[0]["Plan"]))
            # An insert has none.
            assert found or name.startswith("enqueue"), name
            for scan in found:
                assert scan["Node Type"].startswith("Index"), (name, scan)
                # Without a condition it is a walk over all of the index.
                assert "Index Cond" in scan, (name, scan)
            await connection.execute("deallocate planned")
