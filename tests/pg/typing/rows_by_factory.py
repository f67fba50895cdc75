"""What mypy infers of rows by the row factory alone: of psycopg's own, and of ours, the same.

Pyright takes a class without its parameter for one of tuples, psycopg's too.
"""

from typing import assert_type

import attrs
import psycopg
from psycopg.rows import DictRow, class_row, dict_row

from m25 import pg


@attrs.frozen
class Person:
    name: str


async def connections() -> None:
    assert_type(
        await psycopg.AsyncConnection.connect(row_factory=dict_row),
        psycopg.AsyncConnection[DictRow],
    )
    assert_type(await pg.AsyncConnection.connect(row_factory=dict_row), pg.AsyncConnection[DictRow])

    assert_type(
        await psycopg.AsyncConnection.connect(row_factory=class_row(Person)),
        psycopg.AsyncConnection[Person],
    )
    assert_type(
        await pg.AsyncConnection.connect(row_factory=class_row(Person)), pg.AsyncConnection[Person]
    )
