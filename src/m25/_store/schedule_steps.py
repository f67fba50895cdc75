"""What the calls of the store about schedules ask of a database, as steps."""

from __future__ import annotations

from collections.abc import Sequence

from .columns import GIVEN
from .parameters import array, interval, plain_array, timestamp
from .protocol import NewSchedule, NewTick, ScheduleRow, Schedules, Ticked
from .steps import NOTIFIES, Statement, Steps, given_arrays


def declare(schedules: Sequence[NewSchedule]) -> Steps[list[str]]:
    """See `Store.declare_schedules`."""
    parameters = {
        "name": array(one.name for one in schedules),
        "queue_name": array(one.queue_name for one in schedules),
        "expression": array(one.expression for one in schedules),
        "every": array(None if one.every is None else interval(one.every) for one in schedules),
        "timezone": array(one.timezone for one in schedules),
        "catch_up": array(one.catch_up for one in schedules),
        "overlap": array(one.overlap for one in schedules),
    }
    rows = yield Statement("declare_schedules", parameters)
    return [name for name, is_changed in rows if is_changed]


def renew(seen: Sequence[ScheduleRow]) -> Steps[None]:
    """See `Store.renew_schedules`."""
    names, revisions = array(one.name for one in seen), plain_array(one.revision for one in seen)
    yield Statement("renew_schedules", {"name": names, "revision": revisions})


def find(names: Sequence[str] | None) -> Steps[Schedules]:
    """See `Store.find_schedules`."""
    rows = yield Statement("find_schedules", {"name": None if names is None else array(names)})
    found = [ScheduleRow._make(row) for _, *row in rows if row[0] is not None]
    return Schedules(rows[0][0], found)


def tick(ticks: Sequence[NewTick], channels: str) -> Steps[list[Ticked]]:
    """See `Store.tick`."""
    jobs = [(one.name, job) for one in ticks for job in one.jobs]
    given = given_arrays([job for _, job in jobs]) if jobs else dict.fromkeys(GIVEN, "{}")
    parameters = {
        "name": array(one.name for one in ticks),
        "revision": plain_array(one.revision for one in ticks),
        "after": array(timestamp(one.after) for one in ticks),
        "until": array(timestamp(one.until) for one in ticks),
        "overlap": array(one.overlap for one in ticks),
        "last_job_id": array(one.jobs[-1].id if one.jobs else None for one in ticks),
        "schedule_name": array(name for name, _ in jobs),
        **given,
        "channels": channels,
        **NOTIFIES,
    }
    rows = yield Statement("tick", parameters)
    return [Ticked(name, is_live, is_ticked) for name, is_live, is_ticked, _ in rows]


def pause(name: str, is_paused: bool) -> Steps[bool]:
    """See `Store.pause_schedule`."""
    parameters = {"name": name, "is_paused": "true" if is_paused else "false"}
    rows = yield Statement("pause_schedule", parameters)
    return bool(rows)
