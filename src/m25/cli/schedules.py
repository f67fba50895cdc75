"""`m25 schedules`: schedules as they are written down; they are paused and resumed."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime, timedelta
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

_COLUMNS: Final = ("schedule", "queue", "ticks", "next tick", "last tick", "last job", "state")

#: A tick that has not come for this long is late.
_LATE: Final = timedelta(minutes=1)


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.description = """\
List every schedule that was ever declared, or pause one, or resume it. One that no
running process declares any more has no ticks, and says so."""
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
        _next_tick(schedule),
        "" if schedule.last_job_id is None else ago(schedule.last_tick),
        schedule.last_job_id,
        _state(schedule),
    ]


def _next_tick(schedule: ScheduleRecord) -> str:
    if schedule.next_tick is None or schedule.is_left(datetime.now(UTC)):
        return ""
    return ago(schedule.next_tick)


def _state(schedule: ScheduleRecord) -> str:
    if schedule.paused_at is not None:
        return f"paused for {ago(schedule.paused_at)}"
    now = datetime.now(UTC)
    if schedule.is_left(now):
        return f"nobody declares it, since {ago(schedule.declared_at)}"
    if schedule.next_tick is not None and now - schedule.next_tick > _LATE:
        return "late"
    return ""
