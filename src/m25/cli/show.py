"""`m25 show`: all that is known of a job."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Final

from .._client import M25
from .._summaries import AttemptDetails, JobDetails, StepDetails, TreeRow, tree_below
from . import _asking
from ._console import Console
from ._exits import DONE, FAILED
from ._tables import as_json, fields_of, printable, read_json, table
from ._words import span, stamp
from .jobs import status_of

_DESCRIPTION: Final = """\
Show a job by the id of any of its attempts: its input, all its attempts with their errors, what its
steps have done, and what it has started, as a tree."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.description = _DESCRIPTION
    parser.epilog = _asking.epilog("m25 show 01a2218f-8fa5-7c90-8777-32a294f90a75")
    parser.add_argument("id", metavar="ID", help="of the job, or of any of its attempts")
    _asking.add_options(parser)


def run(options: argparse.Namespace, console: Console) -> int:
    """Show it, and return the exit code."""
    return _asking.run(options, console, partial(_show, options, console))


async def _show(options: argparse.Namespace, console: Console, m: M25) -> int:
    details = await m.job_details(options.id)
    if details is None:
        console.error(f"there is no job {options.id}")
        return FAILED
    if options.json:
        console.data(as_json(_as_values(details)))
    else:
        console.data("".join(f"{line}\n" for line in _lines(details)))
    return DONE


def _as_values(details: JobDetails) -> dict[str, Any]:
    """The same, in which JSON is no text."""
    return {
        "job": details.job,
        "waits_for": list(details.waits_for),
        "holds_others": details.holds_others,
        "input": read_json(details.input),
        "meta": read_json(details.meta),
        "timeout": details.timeout,
        "expires_at": details.expires_at,
        "cancelled_by": details.cancelled_by,
        "cancel_reason": details.cancel_reason,
        "attempts": [
            {
                **fields_of(attempt),
                "error_data": read_json(attempt.error_data),
                "output": read_json(attempt.output),
            }
            for attempt in details.attempts
        ],
        "steps": [{**fields_of(step), "output": read_json(step.output)} for step in details.steps],
        "children": list(details.children),
    }


def _lines(details: JobDetails) -> Iterator[str]:
    job = details.job
    yield f"job {job.id} of queue {printable(job.queue_name)!r}: {status_of(job)}"
    facts = {
        "created": stamp(details.attempts[0].created_at),
        "due": stamp(job.due_at) if details.is_by_time else None,
        "waits for": "; ".join(details.waits_for) or None,
        "holds": "those of its key behind it" if details.holds_others else None,
        "timeout": span(details.timeout),
        "expires": None if details.expires_at is None else stamp(details.expires_at),
        "priority": str(job.priority) if job.priority else None,
        "unique key": job.unique_key,
        "started by": None if job.parent_id is None else str(job.parent_id),
        "cancelled": _cancelled(details),
        "input": details.input,
        "meta": details.meta,
        "output": details.attempts[-1].output,
    }
    for name, fact in facts.items():
        if fact is not None:
            yield f"  {name:<11}{printable(fact)}"
    for attempt in details.attempts:
        yield from _attempt_lines(attempt)
    if details.steps:
        yield ""
        yield from table(("step", "name", "key", "output"), _steps(details.steps)).splitlines()
    if details.children:
        yield ""
        yield "has started"
        yield from map(_tree_line, tree_below(job.id, details.children))


def _cancelled(details: JobDetails) -> str | None:
    if details.cancelled_by is None and details.cancel_reason is None:
        return None
    by = "" if details.cancelled_by is None else f"by {details.cancelled_by}"
    why = "" if details.cancel_reason is None else f"because {details.cancel_reason}"
    return ", ".join(part for part in (by, why) if part)


def _attempt_lines(attempt: AttemptDetails) -> Iterator[str]:
    yield ""
    yield f"attempt {attempt.attempt}: {_how_it_ended(attempt)}"
    if attempt.attempt > 1:
        yield f"  {'id':<11}{attempt.id}"
    if attempt.started_at is not None:
        yield f"  {'began':<11}{stamp(attempt.started_at)}"
        if attempt.ended_at is not None:
            yield f"  {'ran':<11}{span(attempt.ended_at - attempt.started_at)}"
    if attempt.error_data is not None:
        yield f"  {'error':<11}{printable(attempt.error_data)}"
    if attempt.crash_type is not None:
        message = "" if attempt.crash_message is None else f": {attempt.crash_message}"
        yield f"  {'error':<11}{printable(attempt.crash_type + message)}"
    for line in (attempt.crash_traceback or "").splitlines():
        yield f"    {printable(line)}".rstrip()


def _how_it_ended(attempt: AttemptDetails) -> str:
    why = "" if attempt.failure_reason is None else f", {printable(attempt.failure_reason)}"
    return f"{attempt.status.value}{why}"


def _steps(steps: Sequence[StepDetails]) -> list[list[object]]:
    return [
        [
            step.kind,
            step.name,
            step.key,
            step.output if step.until is None else f"until {stamp(step.until)}",
        ]
        for step in steps
    ]


def _tree_line(row: TreeRow) -> str:
    *before, is_last = row.is_last
    margin = "".join("   " if each else "│  " for each in before)
    child = row.job
    error = "" if child.error is None else f": {printable(child.error)}"
    return (
        f"{margin}{'└─' if is_last else '├─'} {child.id} {printable(child.queue_name)}"
        f" {status_of(child)}{error}"
    )
