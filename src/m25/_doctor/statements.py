"""The statements of the checks: each a file of `sql/`, run in a transaction bounded in time."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any, Final

from psycopg.rows import dict_row

from .. import migrations, pg
from .._store.statements import expand
from .check import Facts, Patient

_FILES: Final = resources.files("m25._doctor") / "sql"
#: What holds for each statement: among others, that it takes ten seconds at most.
_BOUNDS: Final = (
    b"set transaction read only; set local search_path = pg_catalog;"
    b" set local statement_timeout = '10 s';\n"
)


async def run(patient: Patient, name: str, **parameters: Any) -> list[Facts]:
    """What a statement finds, for the patient's schema and tolerance.

    Raises:
        psycopg.Error: the database refuses it, or it takes too long.
    """
    # psycopg reads "%" as the beginning of a placeholder.
    quoted = migrations.quote(patient.schema).replace("%", "%%")
    given = {"schema": patient.schema, "tolerance": patient.tolerance, **parameters}
    return await execute(patient, _read(name).replace("{schema}", quoted).encode(), given)


async def execute(patient: Patient, statement: bytes, parameters: Mapping[str, Any]) -> list[Facts]:
    """The rows of any statement that only reads.

    Raises:
        psycopg.Error: as `run` does.
    """
    # Sent as one message, it is one transaction of its own, with which all ends that is set: behind
    # a pooler the session is everybody's. And forty checks take a trip to the server each, not
    # four. With this search path no function of somebody else's takes the place of PostgreSQL's.
    cursor = pg.AsyncClientCursor(patient.connection, row_factory=dict_row)
    await cursor.execute(_BOUNDS + statement, parameters)
    while cursor.nextset():
        pass
    return list(await cursor.fetchall())


@cache
def _read(name: str) -> str:
    return expand((_FILES / f"{name}.sql").read_text(encoding="utf-8"))
