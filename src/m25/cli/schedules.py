"""`m25 schedules`: schedules as they are written down; they are paused and resumed."""

from __future__ import annotations

import argparse
from functools import partial
from typing import Final

from .._client import M25
from .._schedule_calls import ScheduleRecord
from .._schedule_errors import NoScheduleFound
from . import _asking
from ._console import Console
from ._exits import DONE, FAILED
from ._tables import as_json, table
from ._words import ago, span

_COLUMNS: Final = ("schedule", "queue", "ticks", "last tick", "last job", "declared", "state")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.description = """\
List every schedule that was ever declared, or pause one, or resume it. One that was declared
longer than five minutes ago has no ticks, since no process is there for it."""
    parser.epilog = _asking.epilog("m25 schedules", "m25 schedules --pause nightly")
    change = parser.add_mutually_exclusive_group()
    change.add_argument("--pause", metavar="NAME", help="it has no ticks until it is resumed")
    change.add_argument("--resume", metavar="NAME", help="it goes on with its next tick")
    _asking.add_options(parser)


def run(options: argparse.Namespace, console: Console) -> int:
    """List or change them, and return the exit code."""
    return _asking.run(options, console, partial(_run, options, console))


async def _run(options: argparse.Namespace, console: Console, m: M25) -> int:
    try:
        if options.pause is not None:
            await m.pause_schedule(options.pause)
        elif options.resume is not None:
            await m.resume_schedule(options.resume)
    except NoScheduleFound as error:
        console.error(str(error))
        return FAILED
    schedules = await m.schedules()
    if options.json:
        console.data(as_json(schedules))
    elif schedules:
        console.data(table(_COLUMNS, [_row(schedule) for schedule in schedules]))
    else:
        console.say("no schedule was ever declared")
    return DONE


def _row(schedule: ScheduleRecord) -> list[object]:
    every = "" if schedule.every is None else f"every {span(schedule.every)}"
    return [
        schedule.name,
        schedule.queue_name,
        f"{schedule.expression} {schedule.timezone}" if schedule.expression else every,
        ago(schedule.last_tick),
        schedule.last_job_id,
        ago(schedule.declared_at),
        "" if schedule.paused_at is None else f"paused for {ago(schedule.paused_at)}",
    ]
