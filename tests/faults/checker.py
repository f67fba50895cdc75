"""Finds what was promised and not kept: from journals, the rows at the end, and a witness inside
the database. The numbers are those of the guarantees.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from m25._store.protocol import JobRow
from m25._timestamps import timestamp_from_text
from simulation.checker import Run
from simulation.checker import violations as violations_of_rows

from .journal import Entry

#: Notes each write to a row that had its final status; nobody else sees one that is undone later.
WITNESS = """
create table witness (id uuid, was text, became text);
create function witness_finality() returns trigger language plpgsql as $$
begin
    insert into witness values (old.id, old::text, new::text);
    return new;
end $$;
create trigger witness_finality after update on m25.job for each row
    when (old.status in ('succeeded', 'failed', 'cancelled'))
    execute function witness_finality();
"""


def violations(
    rows: Sequence[JobRow],
    journal: Sequence[Entry],
    witnessed: Sequence[object],
    tokens: Mapping[str, str | None],
    *,
    max_concurrency: int,
    allowed_losses: int,
) -> list[str]:
    """Every violation, each with the job or the process that shows it; `tokens` are the rows'."""
    problems = violations_of_rows(
        rows,
        runs(rows, journal),
        {id for entry in journal if entry.event == "acknowledged" for id in entry["jobs"]},
        {entry["job"] for entry in journal if entry.event == "cancelled"},
        tokens,
        allowed_losses=allowed_losses,
    )
    asked = {id for entry in journal if entry.event == "asked" for id in entry["jobs"]}
    problems += [
        f"1: {row.id} is there, and nobody asked for it"
        for row in rows
        if row.previous_attempt_id is None and row.id not in asked
    ]
    problems += [f"2: a row was written after its end: {each}" for each in witnessed]
    for entry in journal:
        if entry.event == "began" and entry["running"] > max_concurrency:
            problems.append(f"6: {entry.process} ran {entry['running']} at once")
        elif entry.event == "shared key":
            problems.append(f"5: two live rows hold {entry['key']!r}")
        elif entry.event == "ended unasked":
            problems.append(f"12: {entry['worker']} ended by itself, with {entry['status']}")
        elif entry.event == "not stopped":
            problems.append(f"9: {entry['worker']} was asked to stop, and: {entry['why']}")
        elif entry.event == "damaged":
            problems.append(f"13: {entry['job']} got another input than was put")
    return problems


def runs(rows: Sequence[JobRow], journal: Sequence[Entry]) -> list[Run]:
    """Each run of a handler that was written down, in the order in which they began."""
    by_id = {row.id: row for row in rows}
    found: dict[str, Run] = {}
    for entry in journal:
        if entry.event == "began":
            row = by_id.get(entry["job"])
            not_before = row and (row.scheduled_at or row.created_at)
            began = datetime.fromtimestamp(entry.at, UTC)
            found[entry["run"]] = Run(
                number=entry["run"],
                job_id=entry["job"],
                attempt=entry["attempt"],
                process=entry.process,
                began=began,
                run_at=began if not_before is None else timestamp_from_text(not_before),
                token=entry["token"],
            )
        elif entry.event == "ended":
            found[entry["run"]].ended = entry["how"]
    return list(found.values())
