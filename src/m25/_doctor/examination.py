"""Examines a database: makes all checks that can be made, one after the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from typing import Any

import attrs
import psycopg

from .. import pg
from . import statements
from .check import Check, Facts, Finding, Patient
from .checks import CHECKS


@attrs.frozen
class Examination:
    """What was found in a database."""

    findings: Sequence[Finding]
    #: The names of the checks that were made.
    made: Sequence[str]
    #: The role that looked, if it does not see what sessions of other roles do.
    half_blind: str | None


async def examine(
    connection: pg.AsyncConnection[Any],
    schema: str = "m25",
    *,
    only: Collection[str] = (),
    tolerance: float = 1.0,
    wall_clock: Callable[[], float] = time.time,
) -> Examination:
    """Look for all that may be wrong with a database, and change nothing.

    A check that the database refuses is a finding, too.

    Args:
        connection: to it, in autocommit mode and with the client_encoding UTF8.
        schema: that of the job table.
        only: the names of the checks to make; without any, all.
        tolerance: how much is borne before it is told, in parts of what each check has.
        wall_clock: what time it is here, in seconds since the epoch.

    Raises:
        psycopg.OperationalError: the connection was lost.
    """
    patient = Patient(connection, schema, tolerance, wall_clock)
    findings: list[Finding] = []
    made: list[str] = []
    for check in CHECKS:
        if only and check.name not in only:
            continue
        if not any(finding.check in check.needs for finding in findings):
            findings += await _look(check, patient)
            made.append(check.name)
    blind = await statements.run(patient, "sees_sessions")
    return Examination(findings, made, blind[0]["role"] if blind else None)


async def _look(check: Check, patient: Patient) -> list[Finding]:
    try:
        if check.look is None:
            found: Sequence[Facts] = await statements.run(patient, check.name)
        else:
            found = await check.look(patient)
    except psycopg.Error as error:
        if patient.connection.closed:
            raise
        return [_refused(check, error)]
    return [check.finding(facts) for facts in found]


def _refused(check: Check, error: psycopg.Error) -> Finding:
    reason = error.diag.message_primary or str(error)
    return Finding(
        check.name,
        f"this could not be looked at: {reason}",
        "run the doctor as a role that may read the schema's tables and pg_catalog",
        {"error": reason},
    )
