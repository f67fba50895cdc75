"""What type checkers infer of rows: on each line pair, psycopg's own first, then ours, the same.

It is not run, but checked: by `test_types.py`.
"""

from typing import Any, assert_type

import attrs
import psycopg
from psycopg.rows import (
    AsyncRowFactory,
    DictRow,
    TupleRow,
    class_row,
    dict_row,
    scalar_row,
    tuple_row,
)

from m25 import pg


@attrs.frozen
class Person:
    name: str


async def connections() -> None:
    assert_type(await psycopg.AsyncConnection.connect(), psycopg.AsyncConnection[TupleRow])
    assert_type(await pg.AsyncConnection.connect(), pg.AsyncConnection[TupleRow])

    assert_type(
        await psycopg.AsyncConnection[DictRow].connect(row_factory=dict_row),
        psycopg.AsyncConnection[DictRow],
    )
    assert_type(
        await pg.AsyncConnection[DictRow].connect(row_factory=dict_row), pg.AsyncConnection[DictRow]
    )

    assert_type(
        await psycopg.AsyncConnection[Person].connect(row_factory=class_row(Person)),
        psycopg.AsyncConnection[Person],
    )
    assert_type(
        await pg.AsyncConnection[Person].connect(row_factory=class_row(Person)),
        pg.AsyncConnection[Person],
    )

    assert_type(
        await psycopg.AsyncConnection[TupleRow].connect(row_factory=tuple_row, autocommit=True),
        psycopg.AsyncConnection[TupleRow],
    )
    assert_type(
        await pg.AsyncConnection[TupleRow].connect(row_factory=tuple_row, autocommit=True),
        pg.AsyncConnection[TupleRow],
    )


async def executing(
    theirs: psycopg.AsyncConnection[DictRow], ours: pg.AsyncConnection[DictRow]
) -> None:
    assert_type(await theirs.execute("select 1"), psycopg.AsyncCursor[DictRow])
    assert_type(await ours.execute("select 1"), psycopg.AsyncCursor[DictRow])

    assert_type(await (await theirs.execute("select 1")).fetchone(), DictRow | None)
    assert_type(await (await ours.execute("select 1")).fetchone(), DictRow | None)

    assert_type(await (await theirs.execute("select 1")).fetchall(), list[DictRow])
    assert_type(await (await ours.execute("select 1")).fetchall(), list[DictRow])


async def cursors(theirs: psycopg.AsyncConnection, ours: pg.AsyncConnection) -> None:
    assert_type(theirs.cursor(), psycopg.AsyncCursor[TupleRow])
    assert_type(ours.cursor(), psycopg.AsyncCursor[TupleRow])

    assert_type(theirs.cursor(row_factory=class_row(Person)), psycopg.AsyncCursor[Person])
    assert_type(ours.cursor(row_factory=class_row(Person)), psycopg.AsyncCursor[Person])

    assert_type(theirs.cursor("named"), psycopg.AsyncServerCursor[TupleRow])
    assert_type(ours.cursor("named"), psycopg.AsyncServerCursor[TupleRow])

    assert_type(theirs.cursor("named", row_factory=dict_row), psycopg.AsyncServerCursor[DictRow])
    assert_type(ours.cursor("named", row_factory=dict_row), psycopg.AsyncServerCursor[DictRow])

    async for theirs_row in theirs.cursor(row_factory=scalar_row).stream("select 1"):
        assert_type(theirs_row, Any)
    async for ours_row in ours.cursor(row_factory=scalar_row).stream("select 1"):
        assert_type(ours_row, Any)

    async for notice in theirs.notifies():
        assert_type(notice, psycopg.Notify)
    async for notice in ours.notifies():
        assert_type(notice, psycopg.Notify)


async def made_by_hand(theirs: psycopg.AsyncConnection, ours: pg.AsyncConnection) -> None:
    assert_type(psycopg.AsyncCursor(theirs), psycopg.AsyncCursor[TupleRow])
    assert_type(pg.AsyncCursor(ours), pg.AsyncCursor[TupleRow])

    factory: AsyncRowFactory[Person] = class_row(Person)
    assert_type(
        psycopg.AsyncClientCursor(theirs, row_factory=factory), psycopg.AsyncClientCursor[Person]
    )
    assert_type(pg.AsyncClientCursor(ours, row_factory=factory), pg.AsyncClientCursor[Person])


async def blocks(theirs: psycopg.AsyncConnection, ours: pg.AsyncConnection) -> None:
    async with theirs as entered:
        assert_type(entered, psycopg.AsyncConnection[TupleRow])
    async with ours as also_entered:
        assert_type(also_entered, pg.AsyncConnection[TupleRow])

    async with theirs.transaction() as transaction:
        assert_type(transaction, psycopg.AsyncTransaction)
    async with ours.transaction() as transaction:
        assert_type(transaction, psycopg.AsyncTransaction)

    async with theirs.pipeline() as pipeline:
        assert_type(pipeline, psycopg.AsyncPipeline)
    async with ours.pipeline() as pipeline:
        assert_type(pipeline, psycopg.AsyncPipeline)

    async with theirs.cursor().copy("copy t to stdout") as copy:
        assert_type(copy, psycopg.AsyncCopy)
    async with ours.cursor().copy("copy t to stdout") as copy:
        assert_type(copy, psycopg.AsyncCopy)


async def pools() -> None:
    async with pg.Pool("") as pool, pool.connection() as connection:
        assert_type(pool, pg.Pool[pg.AsyncConnection[TupleRow]])
        assert_type(connection, pg.AsyncConnection[TupleRow])
    async with (
        pg.Pool(
            "",
            connection_class=pg.AsyncConnection[DictRow],
            kwargs={"row_factory": dict_row},
        ) as of_dicts,
        of_dicts.connection() as lent,
    ):
        assert_type(lent, pg.AsyncConnection[DictRow])
        assert_type(await (await lent.execute("select 1")).fetchone(), DictRow | None)


async def listeners() -> None:
    async with pg.Listener("") as listener, listener.subscribe("a") as events:
        async for event in events:
            assert_type(event, pg.Notification | pg.Gap)
