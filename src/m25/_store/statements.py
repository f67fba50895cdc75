"""The statements: each a file of `sql/`, as a cursor takes it and as one that is prepared."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Final

from .. import migrations
from ..pg._prepared import Prepared

_FILES: Final = resources.files("m25._store") / "sql"


def load_statements(schema: str) -> Mapping[str, bytes]:
    """Read every statement, for this schema, by the name of its file."""
    # psycopg reads "%" as the beginning of a placeholder.
    quoted = migrations.quote(schema).replace("%", "%%")
    return {
        file.name.removesuffix(".sql"): _read(file).replace("{schema}", quoted).encode()
        for file in _FILES.iterdir()
        if file.name.endswith(".sql")
    }


def as_prepared(name: str, text: bytes) -> Prepared:
    """The same as a statement that is prepared: what psycopg's cursors do each time, done once."""
    parameters: list[str] = []

    def number(match: re.Match[bytes]) -> bytes:
        parameter = match[1].decode()
        if parameter not in parameters:
            parameters.append(parameter)
        return b"$%d" % (parameters.index(parameter) + 1)

    numbered = re.sub(rb"%\((\w+)\)s", number, text).replace(b"%%", b"%")
    # A pool may be shared by the stores of several schemas.
    digest = hashlib.sha256(text).hexdigest()[:12]
    return Prepared(f"m25_{name}_{digest}".encode(), numbered, tuple(parameters))


def _read(file: Traversable) -> str:
    lines = file.read_text(encoding="utf-8").splitlines()
    # The comments are for readers; the server would parse them again and again.
    return "\n".join(line for line in lines if not line.lstrip().startswith("--"))


#: What a connection is made fit with for the other statements.
SESSION: Final = _read(_FILES / "session.sql").encode()
