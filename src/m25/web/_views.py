"""What each page shows: which question it asks, and how the answer is laid out.

A page and the stream that keeps it up to date have the same view, by the same part of the address.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple
from uuid import UUID

import attrs
import trio
from starlette.exceptions import HTTPException
from starlette.requests import Request

from .._job_filter import RETRIED
from .._lifecycle import FINAL, JobStatus
from .._operator import QueueRecord
from .._summaries import JobDetails, tree_below
from ._chart import Chart, chart
from ._history import History
from ._job_list import JobList
from ._questions import (
    AskJob,
    AskJobs,
    AskLimits,
    AskOverview,
    AskSchedules,
    AskWorkers,
    Overview,
    Question,
)

#: How long the lines of charts are at least, in seconds.
_SHORTEST: Final = 60.0
#: How far children are moved to the right at most: a phone is narrow.
_DEEPEST: Final = 8


@attrs.frozen
class View:
    """A page of an address."""

    title: str
    #: Which part of the dashboard it is in.
    part: str
    template: str
    #: `None` is that there is nothing to be asked.
    question: Question | None
    #: From what the database has said to what the template is given.
    values: Callable[[Any, History], Mapping[str, Any]]
    #: What the template is given in any case.
    fixed: Mapping[str, Any] = attrs.field(factory=dict[str, Any])
    #: Whether it is kept up to date while it is open.
    is_live: bool = True
    #: Whether what the address names is known, by what the database has said.
    is_known: Callable[[Any], bool] = lambda _: True


class QueueCharts(NamedTuple):
    """A queue over the last minutes."""

    #: How many seconds the lines are long.
    length: float
    depth: Chart
    rate: Chart
    latency: Chart


def queues(_: Request) -> View:
    """All queues."""

    def values(seen: Overview, history: History) -> Mapping[str, Any]:
        charts = {queue.name: _charts(queue.name, history) for queue in seen.queues}
        return {
            "queues": seen.queues,
            "rates": seen.rates,
            "charts": charts,
            "ended": sum(rate.ended for rate in seen.rates.values()),
        }

    fixed = {"queues": ()}
    return View("Queues", "queues", "queues.html", AskOverview(), values, fixed)


def queue(request: Request) -> View:
    """One of them."""
    name = request.query_params.get("name", "")

    def values(seen: Overview, history: History) -> Mapping[str, Any]:
        return {
            "queue": _find(seen, name),
            "rate": seen.rates.get(name),
            "charts": _charts(name, history),
        }

    return View(
        name or "Queue",
        "queues",
        "queue.html",
        AskOverview(),
        values,
        {"name": name, "queue": None},
        is_known=lambda seen: _find(seen, name) is not None,
    )


def jobs(request: Request) -> View:
    """Jobs by what they are."""
    which = JobList.of(request.query_params)
    return View(
        "Jobs",
        "jobs",
        "jobs.html",
        AskJobs(which),
        lambda page, _: {"page": page},
        {"which": which, "statuses": [each.value for each in JobStatus], "page": None},
        # What is on a further page is old, and does not change much.
        is_live=not which.after,
    )


def job(request: Request) -> View:
    """All that is known of one."""
    id = request.path_params["id"]
    try:
        UUID(id)
    except ValueError:
        raise HTTPException(404, "There is no such job: that is no id.") from None

    def values(details: JobDetails, _: History) -> Mapping[str, Any]:
        return {
            "details": details,
            "children": list(tree_below(details.job.id, details.children)),
            "deepest": _DEEPEST,
            "may_retry": details.job.status in RETRIED and details.job.parent_id is None,
            "may_cancel": details.job.status not in FINAL,
        }

    return View(
        f"Job {id}",
        "jobs",
        "job.html",
        AskJob(id),
        values,
        {"id": id, "details": None},
        is_known=lambda details: details is not None,
    )


def limits(_: Request) -> View:
    """How many jobs may run at once, and begin in a time."""
    return View(
        "Limits",
        "limits",
        "limits.html",
        AskLimits(),
        lambda seen, _: {"limits": seen},
        {"limits": ()},
    )


def workers(_: Request) -> View:
    """The processes that run jobs."""
    return View(
        "Workers",
        "workers",
        "workers.html",
        AskWorkers(),
        lambda seen, _: {"workers": seen},
        {"workers": ()},
    )


def schedules(_: Request) -> View:
    """What runs by the clock."""
    return View(
        "Schedules",
        "schedules",
        "schedules.html",
        AskSchedules(),
        lambda seen, _: {"schedules": seen.schedules, "runnable": seen.runnable},
        {"schedules": (), "runnable": ()},
    )


def sign_in(_: Request, mistake: str | None = None) -> View:
    """Where one gives the token."""
    return _still("Sign in", "sign_in.html", {"mistake": mistake})


def message(heading: str, words: str) -> View:
    """Why there is nothing to be seen."""
    return _still(heading, "message.html", {"heading": heading, "words": words})


def _still(title: str, template: str, fixed: Mapping[str, Any]) -> View:
    return View(title, "", template, None, lambda _, __: {}, fixed, is_live=False)


def _find(seen: Overview, name: str) -> QueueRecord | None:
    return next((each for each in seen.queues if each.name == name), None)


def _charts(name: str, history: History) -> QueueCharts:
    now = trio.current_time()
    samples = history.of(name, now)
    # All that is known, so that a line is seen soon.
    length = max(now - samples[0].at, _SHORTEST) if samples else _SHORTEST

    def draw(values: Iterable[float | None]) -> Chart:
        points = [(each.at, value) for each, value in zip(samples, values, strict=True)]
        return chart(points, length, now)

    return QueueCharts(
        length=length,
        depth=draw(each.depth for each in samples),
        rate=draw(each.ended for each in samples),
        latency=draw(each.latency for each in samples),
    )
