"""What is not found by one statement: the looks of those checks."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import uuid4

import attrs
import trio
from psycopg import sql
from psycopg.conninfo import make_conninfo

from .. import migrations, pg
from .._job_wait import is_declared, words_of
from .._schedule_errors import InvalidSchedule
from .._servers import find_misfit
from .._store.operator import JobWait
from .._store.protocol import SILENCE
from .._store.statements import load_statements
from .._ticks import find_zone, ticks_of
from . import statements
from .check import Facts, Patient, option_of
from .made import Made, made_by_migrations

#: How long a notification may take to arrive, in seconds.
_NOTIFY_TIMEOUT: Final = 5.0
#: By how many seconds clocks may differ before it is told.
_CLOCKS: Final = 10.0
#: How long jobs must have been due before their queue counts as one that nobody serves.
_WAITING: Final = timedelta(seconds=30)
#: Of how many queues it is told at most that they stand still.
_MOST_STALLED: Final = 20
#: How late a tick may be.
_LATE: Final = timedelta(minutes=5)


async def server(patient: Patient) -> Sequence[Facts]:
    """Whether it is a PostgreSQL, and new enough."""
    (said,) = await statements.execute(patient, b"select version()", {})
    misfit = find_misfit(said["version"], patient.connection.info.server_version)
    return [] if misfit is None else [attrs.asdict(misfit)]


async def schema(patient: Patient) -> Sequence[Facts]:
    """Whether the schema is there, and this m25 can work with it."""
    found = await migrations.read_version(patient.connection, patient.schema)
    newest = f"{migrations.latest_version():%Y-%m-%d %H:%M}"
    if found is None:
        return [_behind(patient, "is missing")]
    if found.works_from > migrations.latest_version():
        return [
            {
                "schema": patient.schema,
                "state": f"is at version {found.version:%Y-%m-%d %H:%M}, and this m25 knows"
                f" versions up to {newest}",
                "remedy": "install the m25 that migrated it, or a newer one",
            }
        ]
    if found.version < migrations.latest_version():
        state = f"is at version {found.version:%Y-%m-%d %H:%M}, and this m25 needs {newest}"
        return [_behind(patient, state)]
    return []


def _behind(patient: Patient, state: str) -> Facts:
    return {
        "schema": patient.schema,
        "state": state,
        "remedy": f"`m25 migrate --apply{option_of(patient.schema)}`",
    }


async def index(patient: Patient) -> Sequence[Facts]:
    """Which indexes are missing or not valid."""
    made = await _made(patient, "index")
    return await statements.run(
        patient,
        "index",
        names=[each.name for each in made],
        definitions=[each.definition for each in made],
    )


async def trigger(patient: Patient) -> Sequence[Facts]:
    """Which triggers are missing or switched off."""
    made = await _made(patient, "trigger")
    return await statements.run(
        patient,
        "trigger",
        names=[each.name for each in made],
        relations=[each.relation for each in made],
        definitions=[each.definition for each in made],
    )


async def _made(patient: Patient, kind: str) -> Sequence[Made]:
    version = await migrations.read_version(patient.connection, patient.schema)
    # A newer m25 may have others.
    return [] if version is None or version.is_newer else made_by_migrations(kind, patient.schema)


async def distributed(patient: Patient) -> Sequence[Facts]:
    """Which tables Citus has in its care."""
    catalog = b"select to_regclass('pg_catalog.pg_dist_partition') is not null as is_there"
    (citus,) = await statements.execute(patient, catalog, {})
    if not citus["is_there"]:
        return []
    parameters = {"schema": patient.schema}
    return await statements.execute(
        patient, load_statements(patient.schema)["find_distributed"], parameters
    )


async def clock(patient: Patient) -> Sequence[Facts]:
    """How far the clock of this machine is from the server's."""
    before = patient.wall_clock()
    statement = b"select extract(epoch from clock_timestamp())::float8 as now"
    (server,) = await statements.execute(patient, statement, {})
    after = patient.wall_clock()
    # The server has looked at its clock somewhere in between.
    ahead = max(before - server["now"], 0.0) or min(after - server["now"], 0.0)
    if abs(ahead) <= _CLOCKS * patient.tolerance:
        return []
    return [{"seconds": abs(ahead), "direction": "ahead of" if ahead > 0 else "behind"}]


async def notify(patient: Patient) -> Sequence[Facts]:
    """Whether a notification arrives that we send to ourselves, by another connection: what a
    session notifies itself comes with its own answer, through any pooler.
    """
    connection, info = patient.connection, patient.connection.info
    channel = sql.Identifier(f"m25_doctor_{uuid4().hex}")
    await connection.execute(sql.SQL("listen {}").format(channel), prepare=False)
    address = make_conninfo("", **{**info.get_parameters(), "password": info.password})
    async with await pg.AsyncConnection.connect(address, autocommit=True) as other:
        await other.execute(sql.SQL("notify {}").format(channel), prepare=False)
    with trio.move_on_after(_NOTIFY_TIMEOUT):
        async with aclosing(connection.notifies(stop_after=1)) as notices:
            async for _ in notices:
                return []
    return [{"seconds": _NOTIFY_TIMEOUT}]


async def unserved(patient: Patient) -> Sequence[Facts]:
    """Which queues have jobs that are due and no worker, as workers look for them, too."""
    statement = load_statements(patient.schema)["find_unserved"]
    parameters = {"waiting": _WAITING * patient.tolerance, "silence": SILENCE}
    found = await statements.execute(patient, statement, parameters)
    # Another check says why those that are paused stand still.
    paused = {facts["queue"] for facts in await statements.run(patient, "paused")} if found else ()
    return [
        {"queue": each["queue_name"], "age": each["seconds"], "workers": each["workers"]}
        for each in found
        if each["queue_name"] not in paused
    ]


async def stalled(patient: Patient) -> Sequence[Facts]:
    """Which queues have workers and run nothing, and what their oldest jobs wait for."""
    find_wait = load_statements(patient.schema)["find_wait"]
    found: list[Facts] = []
    for facts in await statements.run(patient, "stalled", silence=SILENCE, most=_MOST_STALLED):
        parameters = {"id": facts["job"], "silence": SILENCE}
        for row in await statements.execute(patient, find_wait, parameters):
            wait = JobWait._make(row.values())
            # What waits for others of its key, for room or for its turn does as was declared.
            if not is_declared(wait):
                found.append({**facts, "why": "; ".join(words_of(facts["queue"], wait))})
    return found


async def schedule_zone(patient: Patient) -> Sequence[Facts]:
    """Which schedules have a time zone that is not known on this machine."""
    return [
        {"name": row["name"], "timezone": row["timezone"]}
        for row in await statements.run(patient, "schedules")
        if not _is_known(row["timezone"])
    ]


async def schedule_overdue(patient: Patient) -> Sequence[Facts]:
    """Which schedules have a tick that should have come, and did not."""
    found: list[Facts] = []
    for row in await statements.run(patient, "schedules"):
        if row["waits"] or not _is_known(row["timezone"]):
            continue
        after = datetime.fromtimestamp(row["last_tick"], UTC)
        every = None if row["every"] is None else timedelta(seconds=row["every"])
        tick = next(ticks_of(every, row["expression"], row["timezone"], after), None)
        now = datetime.fromtimestamp(row["now"], UTC)
        if tick is not None and tick < now - _LATE * patient.tolerance:
            age = (now - tick).total_seconds()
            found.append({"name": row["name"], "tick": tick.isoformat(" "), "age": age})
    return found


def _is_known(timezone: str) -> bool:
    try:
        find_zone(timezone)
    except InvalidSchedule:
        return False
    return True
