"""The indexes and triggers that the migrations make, as they are written there."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Final

import attrs

from .. import migrations

_MADE: Final = re.compile(
    r"^(?:create (?:unique )?(?P<kind>index|trigger) (?:if not exists )?(?P<name>\w+)"
    r"\b.*?\bon \{schema\}\.(?P<relation>\w+)[^;]*"
    r"|drop (?:index|trigger) (?:if exists )?(?:\{schema\}\.)?(?P<dropped>\w+)[^;]*);",
    re.MULTILINE | re.DOTALL,
)


@attrs.frozen
class Made:
    """An index or a trigger of a migrated schema."""

    kind: str
    name: str
    #: The name of its table.
    relation: str
    #: The statement that makes it.
    definition: str


def made_by_migrations(kind: str, schema: str) -> Sequence[Made]:
    """Those of a kind, "index" or "trigger", in a schema of this name."""
    return [
        attrs.evolve(made, definition=made.definition.replace("{schema}", migrations.quote(schema)))
        for made in _all()
        if made.kind == kind
    ]


@cache
def _all() -> Sequence[Made]:
    found: dict[str, Made] = {}
    for migration in migrations.all_migrations():
        for match in _MADE.finditer(migration.template):
            if match["dropped"]:
                found.pop(match["dropped"], None)
                continue
            definition = " ".join(match[0].removesuffix(";").split())
            made = Made(match["kind"], match["name"], match["relation"], definition)
            found[made.name] = made
    return list(found.values())
