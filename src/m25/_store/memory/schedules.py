"""Schedules, in memory."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import attrs

from ..._lifecycle import FINAL
from ..protocol import NewSchedule, NewTick, ScheduleRow, Ticked
from .rows import MICROSECOND, UNIX_EPOCH, Row, seconds
from .table import Table


@attrs.define
class _Schedule:
    declared: NewSchedule
    #: Microseconds since the epoch, as all times here.
    last_tick: int
    declared_at: int
    revision: int = 1
    paused_at: int | None = None
    last_job_id: str | None = None

    def answer(self) -> ScheduleRow:
        declared = self.declared
        return ScheduleRow(
            declared.name,
            self.revision,
            declared.queue_name,
            declared.expression,
            None if declared.every is None else seconds(declared.every // MICROSECOND),
            declared.timezone,
            declared.catch_up,
            declared.overlap,
            seconds(self.declared_at),
            None if self.paused_at is None else seconds(self.paused_at),
            seconds(self.last_tick),
            self.last_job_id,
        )


class ScheduleTable:
    """All schedules of a store."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._schedules: dict[str, _Schedule] = {}

    def declare(self, schedules: Sequence[NewSchedule], now: int) -> list[str]:
        """Write schedules down; return the names of those that were declared otherwise before."""
        changed: list[str] = []
        for new in schedules:
            known = self._schedules.setdefault(new.name, _Schedule(new, now, now))
            before, known.declared = known.declared, new
            if before != new:
                known.revision += 1
                known.declared_at = now
                changed.append(new.name)
            if _times(before) != _times(new):
                known.last_tick = max(known.last_tick, now)
        return changed

    def renew(self, seen: Sequence[ScheduleRow], now: int) -> None:
        """Note that schedules are still declared as they were seen."""
        for row in seen:
            schedule = self._schedules.get(row.name)
            if schedule is not None and schedule.revision == row.revision:
                schedule.declared_at = now

    def find(self, names: Sequence[str] | None) -> list[ScheduleRow]:
        """Read the schedules of these names, or all."""
        found = sorted(self._schedules if names is None else self._schedules.keys() & {*names})
        return [self._schedules[name].answer() for name in found]

    def tick(
        self, ticks: Sequence[NewTick], rows: Sequence[Sequence[Row]], now: int
    ) -> list[Ticked]:
        """Claim ticks, and insert the rows of each."""
        ticked: list[Ticked] = []
        for tick, jobs in zip(ticks, rows, strict=True):
            schedule = self._schedules.get(tick.name)
            until = (tick.until - UNIX_EPOCH) // MICROSECOND
            if schedule is None or schedule.paused_at is not None or until > now:
                continue
            after = (tick.after - UNIX_EPOCH) // MICROSECOND
            if (schedule.last_tick, schedule.revision) != (after, tick.revision):
                continue
            is_live = tick.overlap != "allow" and self._is_live(schedule.last_job_id)
            is_ticked = not is_live or tick.overlap == "skip"
            if is_ticked:
                schedule.last_tick = until
            if not is_live:
                for row in jobs:
                    self._table.insert_unless_taken(row)
                    schedule.last_job_id = row.id
            ticked.append(Ticked(tick.name, is_live, is_ticked))
        return ticked

    def pause(self, name: str, is_paused: bool, now: int) -> bool:
        """Pause a schedule, or resume it from now on; return whether there is one."""
        schedule = self._schedules.get(name)
        if schedule is None:
            return False
        if is_paused:
            schedule.paused_at = now if schedule.paused_at is None else schedule.paused_at
        elif schedule.paused_at is not None:
            schedule.paused_at = None
            schedule.last_tick = max(schedule.last_tick, now)
        return True

    def _is_live(self, job_id: str | None) -> bool:
        chain = [] if job_id is None else self._table.chain(job_id)
        return any(row.status not in FINAL for row in chain)


def _times(declared: NewSchedule) -> tuple[str | None, timedelta | None, str]:
    return declared.expression, declared.every, declared.timezone
