"""Write the pages of `docs` that are made from the code: `PAGES` names them.

    python tools/pages.py

A test holds each page to what is written here.
"""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import attrs

from m25 import _events
from m25._doctor.checks import CHECKS
from m25._events import AttemptFailed, Event

ROOT = Path(__file__).parent.parent

_CLASS_OR_FIELD: Final = re.compile(
    r"^class (?P<cls>\w+)|(?P<comment>(^ +#: .*\n)+)^ +(?P<field>\w+):", re.MULTILINE
)

EVENTS_HEADER: Final = """\
# Events

The events that m25 emits, as its log shows them. This page is written by `nox -s pages`, from
`src/m25/_events.py`.

A line says in words what happened, to which job, and what follows:

    handler crashed: ValueError in job 01a2… of queue 'emails', attempt 2 of 5; another attempt
    follows

The id is that of the attempt, and each retry has its own. `m25 show` with any of them has the whole
job: its own id, by which `enqueue` and `m25 jobs` know it, and all its attempts.

For those who read fields, a line's record has the event's name as `m25_event`, and each field below
with `m25_` before its name: `m25_queue`, `m25_job_id`. `record.msg` is the same for every line of
an event, so that tools which group lines by it do so by event. An `error` is in `record.exc_info`.

No text and no field holds a payload, except that a `path` into a value names the keys of mappings
on its way. What a handler raised is in the traceback, with its own text.
"""


def main() -> None:
    """Write the files."""
    for name, page in PAGES.items():
        (ROOT / "docs" / name).write_text(page(), encoding="utf-8")


def events() -> list[type[Event]]:
    """The classes of all events, in the order in which they are written."""
    return [
        value
        for value in vars(_events).values()
        if isinstance(value, type) and issubclass(value, Event) and hasattr(value, "message")
    ]


def events_page() -> str:
    """The text of `docs/events.md`."""
    overview = [
        "| event | level | when |",
        "|---|---|---|",
        *(
            f"| [{each.__name__}](#{each.__name__.lower()}) | {_level(each)} | {_when(each)} |"
            for each in events()
        ),
        "",
    ]
    comments = _field_comments()
    return "\n".join([EVENTS_HEADER, *overview, *(_section(each, comments) for each in events())])


DOCTOR_HEADER: Final = """\
# What the doctor looks for

**`m25 doctor` looks at a database, and says what is wrong, where, and what to do.** Where nothing
is wrong it prints nothing. It changes nothing, and needs no worker. This page is written by
`nox -s pages`, from `src/m25/_doctor/checks.py`.

```sh
export DATABASE_URL=postgresql://shop@db.example/shop
m25 doctor
```

```text
paused: queue 'emails' has been paused for 3 h (bounces), and its oldest job has been due for 2 h
  → `m25 resume emails`, if it is to go on
```

| option | what it does |
|---|---|
| `ADDRESS`, `--addr`, `--schema` | where the database is, and the job table in it |
| `--check NAME` | makes this check alone; may be repeated |
| `--tolerance 0.1` | bears a tenth of what is borne before, and so tells sooner; 10 tells later |
| `--json` | prints one object: `database`, `schema`, `checks` (that were made), `findings` |

The exit code is 0 where nothing is wrong; 1 where something is, or the database cannot be reached;
and 2 where the command line or the address is wrong.

Run it as a role that may read m25's tables and is a member of `pg_monitor`: others do not see what
sessions of other roles do, and the doctor says so. Each look takes ten seconds at most; one that
the database refuses is a finding, too. Where the schema is missing, or does not fit, what lies in
it is not looked at. A finding of `--json` has `check`, `what`, `advice`, and the `facts` by name.

## The checks

What is in capitals here is told as it was found; REMEDY is the very command.
"""


def doctor_page() -> str:
    """The text of `docs/doctor.md`."""

    def told(template: str) -> str:
        return re.sub(r"\{(\w+)[^}]*\}", lambda fact: fact[1].upper(), template)

    lines = [
        DOCTOR_HEADER,
        "| check | what is wrong | what to do |",
        "|---|---|---|",
        *(f"| `{each.name}` | {told(each.says)} | {told(each.advice)} |" for each in CHECKS),
        "",
    ]
    return "\n".join(lines)


def _section(event: type[Event], comments: Mapping[tuple[str, str], str]) -> str:
    rows = [
        ("logger", f"`{event.logger}`"),
        ("level", _level(event)),
        ("text", f"`{event.message}`"),
    ]
    for field in attrs.fields(event):
        (meaning,) = [
            comments[cls.__name__, field.name]
            for cls in event.__mro__
            if (cls.__name__, field.name) in comments
        ]
        rows.append((f"`{field.name}`", meaning))
    return "\n".join(
        [
            f"## {event.__name__}\n",
            f"{inspect.getdoc(event)}\n",
            "| | |",
            "|---|---|",
            *(f"| {name} | {meaning} |" for name, meaning in rows),
            "",
        ]
    )


def _level(event: type[Event]) -> str:
    level = logging.getLevelName(event.level)
    if issubclass(event, AttemptFailed) and event.retried_level is not None:
        level += f"; {logging.getLevelName(event.retried_level)} while another attempt follows"
    return level


def _when(event: type[Event]) -> str:
    """The first line of the docstring of its class."""
    return (inspect.getdoc(event) or "").partition("\n")[0]


def _field_comments() -> dict[tuple[str, str], str]:
    """By class and field, the text of the `#:` lines above the field."""
    found: dict[tuple[str, str], str] = {}
    cls = ""
    for match in _CLASS_OR_FIELD.finditer(inspect.getsource(_events)):
        cls = match["cls"] or cls
        if match["field"]:
            found[cls, match["field"]] = " ".join(re.findall(r"#: (.*)", match["comment"]))
    return found


#: The pages, by their names in `docs`.
PAGES: Final[Mapping[str, Callable[[], str]]] = {
    "doctor.md": doctor_page,
    "events.md": events_page,
}


if __name__ == "__main__":
    main()
