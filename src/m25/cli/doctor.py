"""`m25 doctor`: looks for what is wrong with a database, and says what to do."""

from __future__ import annotations

import argparse
import json
import math
import textwrap
from collections.abc import Sequence
from typing import Final

import psycopg
import trio

from .. import pg
from .._doctor.checks import CHECKS
from .._doctor.examination import Examination, examine
from . import _address
from ._console import Console
from ._exits import DONE, FAILED

_WIDTH: Final = 100

_DESCRIPTION: Final = """\
Look for all that may be wrong with a database: its schema, its server, who is in the way, and which
queues stand still. For each finding it is said what is wrong, where, and what to do. Nothing is
changed, and nothing is printed where nothing is wrong."""

_EPILOG: Final = f"""\
{_address.HELP}

docs/doctor.md lists all checks. Whoever runs them should be allowed to see what sessions of other
roles do, as a member of pg_monitor is.

exit codes:
  0  nothing is wrong
  1  something is, or the database cannot be reached
  2  the command line or the address is wrong; the database was not asked

examples:
  m25 doctor
  m25 doctor --json | jq -r '.findings[].check'
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.description = _DESCRIPTION
    parser.epilog = _EPILOG
    address = parser.add_mutually_exclusive_group()
    address.add_argument(
        "address", nargs="?", metavar="ADDRESS", help="where the database is (see below)"
    )
    _address.add_option(address)
    _address.add_schema_option(parser)
    parser.add_argument(
        "--check",
        action="append",
        default=[],
        choices=[check.name for check in CHECKS],
        metavar="NAME",
        help="make this check alone; may be repeated (default: all)",
    )
    parser.add_argument(
        "--tolerance",
        default=1.0,
        type=_factor,
        metavar="FACTOR",
        help="how much is borne before it is told: 0.1 tells sooner, 10 later (default: 1)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: argparse.Namespace, console: Console) -> int:
    """Look, print what was found, and return the exit code."""
    conninfo = _address.read(options.address or options.addr)
    target = _address.describe(conninfo)
    try:
        examination = trio.run(_examine, conninfo, options.schema, options.check, options.tolerance)
    except (psycopg.Error, OSError) as error:
        console.error(f"{target} cannot be used: {error}".rstrip())
        return FAILED
    if options.json:
        console.data(_as_json(examination, target, options.schema))
    else:
        console.data(_as_text(examination))
        if examination.half_blind is not None:
            console.say(
                f"role {examination.half_blind} does not see what sessions of other roles do, nor"
                " which of them are in the way: `grant pg_monitor` to it"
            )
    return FAILED if examination.findings else DONE


async def _examine(
    conninfo: str, schema: str, only: Sequence[str], tolerance: float
) -> Examination:
    async with await pg.AsyncConnection.connect(
        conninfo, autocommit=True, client_encoding="UTF8"
    ) as connection:
        return await examine(connection, schema, only=only, tolerance=tolerance)


def _as_text(examination: Examination) -> str:
    """A paragraph for each finding: what is wrong, and what to do."""
    return "\n".join(
        f"{_wrapped(finding.what, f'{finding.check}: ')}\n{_wrapped(finding.advice, '  → ')}\n"
        for finding in examination.findings
    )


def _wrapped(text: str, begin: str) -> str:
    # What is to be copied must not be broken within words.
    return textwrap.fill(
        text,
        _WIDTH,
        initial_indent=begin,
        subsequent_indent="    ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _as_json(examination: Examination, target: str, schema: str) -> str:
    findings = [
        {
            "check": finding.check,
            "what": finding.what,
            "advice": finding.advice,
            "facts": dict(finding.facts),
        }
        for finding in examination.findings
    ]
    told = {
        "database": target,
        "schema": schema,
        "checks": list(examination.made),
        "findings": findings,
    }
    return f"{json.dumps(told, indent=2, default=str, ensure_ascii=False)}\n"


def _factor(text: str) -> float:
    try:
        factor = float(text)
    except ValueError:
        factor = math.nan
    if not 0 <= factor < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number, zero or more, not {text!r}")
    return factor
