"""What a check is, and what it finds."""

from __future__ import annotations

import shlex
import string
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import attrs

from .. import pg

#: What a check has found: for each thing that is wrong, the facts of it, by name.
Facts: TypeAlias = Mapping[str, Any]

#: The checks that must have found nothing for another to mean anything: those of a database that is
#: no PostgreSQL, and those of a schema that is not as it should be.
A_SERVER: Final = ("server",)
A_SCHEMA: Final = ("server", "rights", "schema")

_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"))


@attrs.frozen
class Patient:
    """The database that is examined."""

    connection: pg.AsyncConnection[Any]
    schema: str
    #: How much is borne before it is told: 1 is as each check has it, 0.5 tells of half as much.
    tolerance: float
    #: Seconds since the epoch, by the clock of this machine.
    wall_clock: Callable[[], float]


#: Finds what is wrong by other means than one statement.
Look: TypeAlias = Callable[[Patient], Awaitable[Sequence[Facts]]]


@attrs.frozen
class Check:
    """One thing that may be wrong."""

    name: str
    #: What is wrong, and where: a template, with the names of facts in braces.
    says: str
    #: What to do, likewise.
    advice: str
    #: It is made only where these have found nothing.
    needs: Sequence[str] = A_SCHEMA
    #: If there is none, the statement of this name finds it.
    look: Look | None = None

    def finding(self, facts: Facts) -> Finding:
        """What is told of these facts."""
        told = _Words()
        what, advice = (told.vformat(text, (), facts) for text in (self.says, self.advice))
        return Finding(self.name, what, advice, facts)


@attrs.frozen
class Finding:
    """Something that is wrong."""

    #: The name of the check that has found it.
    check: str
    #: What is wrong, and where.
    what: str
    #: What to do.
    advice: str
    facts: Facts


class _Words(string.Formatter):
    """Templates whose facts may be marked: as seconds, `{age:s}`, or as an argument of a command,
    `{queue:q}`.
    """

    def format_field(self, value: Any, format_spec: str) -> Any:
        match format_spec:
            case "s":
                return span(value)
            case "q":
                return shlex.quote(value)
            case _:
                return super().format_field(value, format_spec)


def span(seconds: float) -> str:
    """A time in words, in the largest unit of which there are two or more."""
    for length, unit in _UNITS:
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def option_of(schema: str) -> str:
    """What a command needs to be told of a schema, beside the database."""
    return "" if schema == "m25" else f" --schema {shlex.quote(schema)}"
