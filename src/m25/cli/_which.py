"""Which jobs a command means: the options, and what the client is asked."""

from __future__ import annotations

import argparse
import json
from datetime import timedelta
from typing import Any, Final, cast

from .._job_filter import JobFilter
from .._lifecycle import JobStatus
from ._words import parse_duration, span

#: In the order in which a person is told.
_NAMES: Final = ("queue", "status", "since", "ended_before", "where")
_STATUSES: Final = [status.value for status in JobStatus]

HELP: Final = """\
--where input.customer=7 is a part of the input: of an object its key, which may be a path
(input.address.city=Rome). The value is JSON, or else text; input=7 is the whole input. Several of
them hold together. Durations are seconds, or 30min, 2h, 7d, 1w."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare what jobs may be."""
    parser.add_argument("--queue", metavar="NAME", help="jobs of this queue")
    parser.add_argument(
        "--status",
        action="append",
        choices=_STATUSES,
        metavar="STATUS",
        help=f"jobs that are so; may be repeated: {', '.join(_STATUSES)}",
    )
    parser.add_argument(
        "--since",
        type=parse_duration,
        metavar="DURATION",
        help="whose latest attempt was created that long ago, or later",
    )
    parser.add_argument(
        "--ended-before", type=parse_duration, metavar="DURATION", help="which ended that long ago"
    )
    parser.add_argument(
        "--where",
        action="append",
        default=[],
        type=parse_where,
        metavar="PATH=VALUE",
        help="whose input has this (see below); may be repeated",
    )


def read(options: argparse.Namespace) -> JobFilter:
    """What the client is asked."""
    which = JobFilter()
    if options.queue is not None:
        which["queue"] = options.queue
    if options.status:
        which["status"] = options.status
    if options.since is not None:
        which["since"] = options.since
    if options.ended_before is not None:
        which["ended_before"] = options.ended_before
    if options.where:
        which["where"] = _together(options.where)
    return which


def in_words(which: JobFilter) -> str:
    """The same for a person who is asked whether that is meant."""
    said = [f"{name} {_word(value)}" for name in _NAMES if (value := which.get(name)) is not None]
    return f" ({', '.join(said)})" if said else ""


def _word(value: object) -> str:
    match value:
        case timedelta():
            return span(value)
        case list():
            return " or ".join(map(str, cast("list[object]", value)))
        case str():
            return value
        case _:
            return json.dumps(value, ensure_ascii=False)


def parse_where(text: str) -> Any:
    """A part of an input, such as `{"address": {"city": "Rome"}}`.

    Raises:
        argparse.ArgumentTypeError: it is not written as in the help.
    """
    path, equals, written = text.partition("=")
    first, *keys = path.split(".")
    if not equals or first != "input" or not all(keys):
        raise argparse.ArgumentTypeError(
            f"not a part of an input: {text!r}; write input.customer=7, or input=7"
        )
    try:
        value = json.loads(written)
    # RecursionError: it is deeper than Python reads.
    except (ValueError, RecursionError):
        value = written
    for key in reversed(keys):
        value = {key: value}
    return value


def _together(parts: list[Any]) -> Any:
    """One value that contains several, as objects do."""
    whole = parts[0]
    for part in parts[1:]:
        whole = _both(whole, part)
    return whole


def _both(one: Any, other: Any) -> Any:
    if not isinstance(one, dict) or not isinstance(other, dict):
        raise ValueError("two --where say different things of one place in the input")
    both = dict(cast("dict[str, Any]", one))
    for key, value in cast("dict[str, Any]", other).items():
        both[key] = _both(both[key], value) if key in both else value
    return both
