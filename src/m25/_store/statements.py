"""The statements: each a file of `sql/`, as a cursor takes it and as one that is prepared.

What several statements share is written once: as a file of `sql/parts/`, or as a list that is made
from the table of columns. Its name in braces stands for it. docs/statements.sql has the statements
as they are sent, written by `tools/statements.py`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from textwrap import wrap
from typing import Final

from .. import migrations
from ..pg._prepared import Prepared
from .columns import (
    ALWAYS_CLAIMED,
    COLUMNS,
    COMPARED,
    GIVEN,
    INHERITED,
    OF_CLAIM,
    RARELY_CLAIMED,
    REQUIRED,
    SHARED,
)

_FILES: Final = resources.files("m25._store") / "sql"

#: What an attempt does not inherit as it is that an operator has asked for: it may be one more than
#: there should have been, and is not too late.
_RETRIED: Final = {
    "max_attempts": (
        "greatest(max_attempts, least(attempt::bigint - losses + 1, 2147483647)::integer)"
    ),
    "expires_at": "null::timestamptz",
}


def load_statements(schema: str) -> Mapping[str, bytes]:
    """Read every statement, for this schema, by the name of its file."""
    # psycopg reads "%" as the beginning of a placeholder.
    quoted = migrations.quote(schema).replace("%", "%%")
    return {
        name: _labelled(name, text.replace("{schema}", quoted))
        for name, text in _STATEMENTS.items()
    }


def _labelled(name: str, statement: str) -> bytes:
    """A statement as it is sent, with its name in a comment at its beginning.

    Whoever looks into `pg_stat_activity` sees whose it is. And pgpool-II sends what begins with a
    comment to the primary: a standby may not have what was just enqueued.
    """
    return f"/* m25.{name} */ {statement}".encode()


def expanded_statements() -> Mapping[str, str]:
    """Every statement, with its comments and its parts, and `{schema}` for the schema's name."""
    return {name: expand(text) for name, text in _read(_FILES).items()}


def expand(text: str) -> str:
    """A statement with its parts, wherever it is from, and `{schema}` for the schema's name."""
    return _expand(text, _parts())


@cache
def _parts() -> Mapping[str, str]:
    parts = {**_from_columns(), **_read(_FILES / "parts")}
    return {name: _without_comments(text) for name, text in parts.items()}


def _from_columns() -> dict[str, str]:
    failed = dict.fromkeys(("id", "attempt", "original_attempt_id", "failure_reason", *INHERITED))
    next_attempt = ("scheduled_at", "attempt", "original_attempt_id", "previous_attempt_id")
    # Every job was created at some time.
    rare = [name for name in RARELY_CLAIMED if name != "created_at"]
    return {
        "job_columns": _names(COLUMNS),
        "job_row": _lines(_selected(name) for name in COLUMNS),
        "always_claimed": _names(ALWAYS_CLAIMED),
        "always_claimed_as_text": _lines(_selected(name) for name in ALWAYS_CLAIMED),
        "rarely_not_null": _names(name for name in rare if COLUMNS[name].default is None),
        "rarely_not_default": " or ".join(
            f"{name} <> {default}"
            for name in rare
            if (default := COLUMNS[name].default) is not None
        ),
        "rarely_claimed_as_text": _lines(_as_text(name) for name in RARELY_CLAIMED),
        "given_columns": _names(GIVEN),
        "given_columns_of_wanted": _names(f"wanted.{name}" for name in GIVEN),
        "wanted_columns": _names(f"wanted_{name}" for name in GIVEN),
        "given_arrays": _lines(f"%({name})s::{COLUMNS[name].type}[]" for name in GIVEN),
        "given_of_each": _lines(_of_each(name, name) for name in GIVEN),
        "wanted_of_each": _lines(_of_each(name, f"wanted_{name}") for name in GIVEN),
        "given_differences": _lines(
            f"case when {name} is distinct from wanted_{name} then '{name}' end"
            for name in COMPARED
        ),
        "given_values": _lines(f"%({name})s::{COLUMNS[name].type}" for name in GIVEN),
        "required_columns": _names(REQUIRED),
        "required_values": _lines(f"%({name})s::{COLUMNS[name].type}" for name in REQUIRED),
        "inherited_columns": _names(INHERITED),
        "failed_columns": _names(f"job.{name}" for name in failed),
        "next_attempt_columns": _names((*next_attempt, *INHERITED)),
        "retried_columns": _lines(_RETRIED.get(name, name) for name in INHERITED),
        "released": _lines(f"{name} = null" for name in OF_CLAIM),
    }


def _selected(name: str) -> str:
    """How a column is read: what Python might not be able to hold comes as text."""
    match COLUMNS[name].type:
        case "timestamptz" | "interval":
            return f"extract(epoch from {name})::text as {name}"
        case "uuid" | "jsonb":
            return f"{name}::text"
        case _:
            return name


def _of_each(name: str, alias: str) -> str:
    """What is given of each job, in a row that `unnest` has made of the arrays of `given_arrays`.

    Where all jobs have the same, there is an array of one, and `unnest` puts nulls below its end.
    """
    if name not in SHARED:
        return alias
    return f"coalesce({alias}, (%({name})s::{COLUMNS[name].type}[])[1]) as {alias}"


def _as_text(name: str) -> str:
    """The same, always as text, and without a name."""
    selected = _selected(name).removesuffix(f" as {name}")
    return selected if selected.endswith("::text") else f"{selected}::text"


def _lines(expressions: Iterable[str]) -> str:
    return ",\n".join(expressions)


def _names(names: Iterable[str]) -> str:
    return "\n".join(wrap(", ".join(names), 80))


def _expand(text: str, parts: Mapping[str, str]) -> str:
    """Put each part in its place, as far to the right as the line on which its name stands."""

    def fill(match: re.Match[str]) -> str:
        margin, before, name = match.groups()
        lines = _expand(parts[name], parts).splitlines()
        return margin + before + f"\n{margin}".join(lines)

    return re.sub(r"^( *)(.*?)\{(?!schema\})(\w+)\}", fill, text, flags=re.MULTILINE)


def as_prepared(name: str, text: bytes) -> Prepared:
    """The same as a statement that is prepared: what psycopg's cursors do each time, done once."""
    parameters: list[str] = []

    def number(match: re.Match[bytes]) -> bytes:
        if match[1] is None:
            return b"%"
        parameter = match[1].decode()
        if parameter not in parameters:
            parameters.append(parameter)
        return b"$%d" % (parameters.index(parameter) + 1)

    numbered = re.sub(rb"%(?:%|\((\w+)\)s)", number, text)
    # A pool may be shared by the stores of several schemas.
    digest = hashlib.sha256(text).hexdigest()[:12]
    return Prepared(f"m25_{name}_{digest}".encode(), numbered, tuple(parameters))


def _read(folder: Traversable) -> Mapping[str, str]:
    files = sorted(folder.iterdir(), key=lambda file: file.name)
    return {
        file.name.removesuffix(".sql"): file.read_text(encoding="utf-8").rstrip("\n")
        for file in files
        if file.name.endswith(".sql")
    }


def _without_comments(text: str) -> str:
    # They are for readers; the server would parse them again and again.
    lines = (
        re.sub(r" *--( .*)?$", "", line) if "--" in line else line for line in text.splitlines()
    )
    return "\n".join(line for line in lines if line)


#: The statements as they are sent, but for the schema's name. They are expanded once, since this
#: takes as long as all else that opens a client.
_STATEMENTS: Final = {name: _without_comments(text) for name, text in expanded_statements().items()}

#: What a connection is made fit with for the other statements.
SESSION: Final = _labelled("session", _STATEMENTS["session"])
