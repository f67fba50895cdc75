"""`Schedule`: what a client declares of one, and which of its ticks are to run."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Generic, Literal, TypeAlias, cast, get_args
from zoneinfo import ZoneInfo

import attrs

from ._duration import Duration, as_timedelta
from ._ids import spread_of_tick
from ._job import Input, Job
from ._queue import Queue
from ._schedule_errors import InvalidSchedule
from ._text import check_text
from ._ticks import check_expression, find_zone, ticks_of

#: What runs of the ticks that came while no process was there, or a job before was live.
CatchUp: TypeAlias = Literal["last", "all", "none"]
#: What becomes of a tick that comes while the job of the one before is live.
Overlap: TypeAlias = Literal["allow", "skip", "queue", "cancel"]

#: With `catch_up="none"` a tick that is late by no more than this still runs: processes may have
#: been busy, or have just been replaced.
PUNCTUAL: Final = timedelta(minutes=1)
#: How many ticks are claimed in one statement.
_MOST_AT_ONCE: Final = 100
#: How far back the last of many missed ticks is looked for, first here and then there.
_WINDOWS: Final = (timedelta(hours=1), timedelta(days=1), timedelta(days=32))
_SHORTEST_INTERVAL: Final = timedelta(seconds=1)
_LONGEST_NAME: Final = 200


@attrs.frozen
class Due:
    """The ticks of a schedule that are to be claimed now, in one statement."""

    #: Those that have a job.
    ticks: tuple[datetime, ...]
    #: The last that is claimed.
    until: datetime
    #: The first of those that are passed over because they were missed, if any are.
    missed_from: datetime | None


@attrs.frozen(kw_only=True)
class Schedule(Generic[Input]):
    """A schedule, as it is declared."""

    name: str
    queue: Queue[Input, Any, Any]
    expression: str | None
    every: timedelta | None
    timezone: str
    #: An input, or what makes one of a tick in the schedule's time zone.
    input: Input | Job[Input] | Callable[[datetime], Input | Job[Input]]
    catch_up: CatchUp
    overlap: Overlap
    #: Up to how long after its tick a job is due.
    jitter: timedelta

    def ticks(self, after: datetime) -> Iterator[datetime]:
        """Its ticks after a point in time, in UTC."""
        return ticks_of(self.every, self.expression, self.timezone, after)

    def due(self, after: datetime, now: datetime) -> Due | None:
        """What is to be claimed at `now` where the latest claimed tick was `after`; `None` if
        nothing is.
        """
        first = next(self.ticks(after), None)
        if first is None or first > now:
            return None
        if self.catch_up == "last":
            chosen = [self._last_until(now, after)]
        else:
            is_all = self.catch_up == "all"
            chosen = self._first_until(now, after if is_all else max(after, now - PUNCTUAL))
        until = chosen[-1] if chosen else self._last_until(now, after)
        if self.overlap != "allow" and chosen:
            # The second would meet the first. With `skip` it is passed over, and else left.
            until = until if self.overlap == "skip" else chosen[0]
            chosen = chosen[:1]
        missed_from = first if not chosen or first < chosen[0] else None
        return Due(tuple(chosen), until, missed_from)

    def make_job(self, tick: datetime) -> Job[Input]:
        """The job of a tick, which has the tick as its `scheduled_at`, or is a little later.

        Raises:
            InvalidSchedule: the function has made a `Job` with options that are the schedule's.
            Exception: the function has raised it.
        """
        made: Any = self.input
        if callable(made):
            made = made(tick.astimezone(ZoneInfo(self.timezone)))
        job = cast("Job[Input]", made) if isinstance(made, Job) else Job[Input](made)
        check_job(self.name, job)
        return attrs.evolve(job, scheduled_at=tick + self.jitter * spread_of_tick(self.name, tick))

    def _first_until(self, now: datetime, after: datetime) -> list[datetime]:
        ticks = itertools.takewhile(lambda tick: tick <= now, self.ticks(after))
        return list(itertools.islice(ticks, _MOST_AT_ONCE))

    def _last_until(self, now: datetime, after: datetime) -> datetime:
        """The last tick up to `now`; after `after` there is one."""
        latest = after
        for window in _WINDOWS:
            latest = self._last_in(now, max(after, now - window), after)
            if latest > after:
                return latest
        return self._last_in(now, after, after)

    def _last_in(self, now: datetime, begin: datetime, default: datetime) -> datetime:
        latest = default
        for tick in itertools.takewhile(lambda tick: tick <= now, self.ticks(begin)):
            latest = tick
        return latest


def make_schedule(
    name: str,
    queue: Queue[Input, Any, Any],
    expression: str | None,
    *,
    every: Duration | None,
    timezone: str,
    input: Input | Job[Input] | Callable[[datetime], Input | Job[Input]],  # noqa: A002
    catch_up: CatchUp,
    overlap: Overlap,
    jitter: Duration,
) -> Schedule[Input]:
    """Check what `M25.add_schedule` is given, and make a schedule of it.

    Raises:
        InvalidSchedule: an argument is not as `M25.add_schedule` has it.
        ValueRefused: the input is given as a value, and cannot be kept as JSON.
    """
    if len(check_text(name, "a schedule's name", InvalidSchedule)) > _LONGEST_NAME:
        raise InvalidSchedule(f"a schedule's name must have at most {_LONGEST_NAME} characters")
    if (expression is None) == (every is None):
        raise InvalidSchedule(
            f"schedule {name!r} needs either a cron expression or every=, and not both"
        )
    interval = None
    if every is not None:
        interval = as_timedelta(every, "every", InvalidSchedule)
        if interval < _SHORTEST_INTERVAL:
            raise InvalidSchedule(f"every must be a second or more, and not {every!r}")
    else:
        check_expression(expression)
    find_zone(timezone)
    if inspect.iscoroutinefunction(input):
        raise InvalidSchedule(
            f"the function that makes the input of schedule {name!r} must not be async; what takes"
            " its time belongs in the handler"
        )
    for option, value, allowed in (
        ("catch_up", catch_up, get_args(CatchUp)),
        ("overlap", overlap, get_args(Overlap)),
    ):
        if value not in allowed:
            raise InvalidSchedule(
                f"{option} must be one of {', '.join(map(repr, allowed))}, not {value!r:.40}"
            )
    schedule = Schedule(
        name=name,
        queue=queue,
        expression=expression,
        every=interval,
        timezone=timezone,
        input=input,
        catch_up=catch_up,
        overlap=overlap,
        jitter=as_timedelta(jitter, "jitter", InvalidSchedule, zero=True),
    )
    if not callable(input):
        # Once, here: so that a mistake is found where it was made.
        job = schedule.make_job(datetime(2000, 1, 1, tzinfo=UTC))
        queue.input_codec.encode(job.input, "input")
    return schedule


def check_job(name: str, job: Job[Any]) -> None:
    """Check the job of a tick.

    Raises:
        InvalidSchedule: it has an id, a time or a key of its own.
    """
    for option in ("id", "scheduled_at", "unique_key", "unique"):
        if getattr(job, option) is not None:
            raise InvalidSchedule(
                f"a Job of schedule {name!r} has {option}=, which the schedule itself decides;"
                " leave it out" + (", and see overlap=" if option.startswith("unique") else "")
            )
