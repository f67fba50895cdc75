"""Servers that speak as PostgreSQL does, and on which m25 does not work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import attrs

from ._errors import UnsupportedServer

#: The oldest PostgreSQL that m25 works with.
_OLDEST: Final = 130_000


@attrs.frozen
class Misfit:
    """A server on which m25 does not work."""

    product: str
    #: What is different there from what m25 is built on.
    reason: str


_NO_ROW_LOCKS: Final = "an update there locks the whole table, so that workers wait for each other"
_YUGABYTE: Final = Misfit(
    "YugabyteDB",
    "each of its nodes shows its own sessions alone, so that the workers of the others look dead;"
    " and LISTEN and NOTIFY are off there unless they were switched on",
)

#: By what is in the answer of such a server to `select version()`.
_MISFITS: Final = {
    "CockroachDB": Misfit(
        "CockroachDB",
        "it has no LISTEN and NOTIFY, refuses statements that change one table in several places,"
        " and its advisory locks lock nothing",
    ),
    # As in "PostgreSQL 15.2-YB-2025.1.0.0-b0 on x86_64".
    "-YB-": _YUGABYTE,
    "Yugabyte": _YUGABYTE,
    "Greenplum": Misfit("Greenplum", _NO_ROW_LOCKS),
    "Redshift": Misfit("Redshift", _NO_ROW_LOCKS),
    "Materialize": Misfit("Materialize", "a transaction there either reads or writes"),
}


def find_misfit(version: str, number: int) -> Misfit | None:
    """Why m25 does not work with a server, if it does not.

    Args:
        version: the server's answer to `select version()`.
        number: its version as libpq has it: 130004 is 13.4.
    """
    for part, misfit in _MISFITS.items():
        if part in version:
            return misfit
    if number < _OLDEST:
        return Misfit(f"PostgreSQL {number // 10_000}", "it lacks what m25's statements need")
    return None


def check_server(version: str, number: int, distributed: Sequence[str] = ()) -> None:
    """Refuse to work with a server that does not fit.

    Args:
        version: as `find_misfit` has it.
        number: likewise.
        distributed: the tables of m25's that Citus has in its care.

    Raises:
        UnsupportedServer: m25 does not work there.
    """
    if misfit := find_misfit(version, number):
        raise UnsupportedServer(
            f"this server is {misfit.product}, on which m25 does not work: {misfit.reason};"
            " run m25 on PostgreSQL, 13 or newer"
        )
    if distributed:
        raise UnsupportedServer(
            f"Citus has distributed {distributed[0]}, and refuses most of m25's statements there:"
            " they lock and update rows of many jobs at once;"
            f" `select undistribute_table('{distributed[0]}')` makes a plain table of it"
        )
