"""The table of columns is what the schema, the records and the inserts have."""

from __future__ import annotations

import re
from typing import get_args, get_type_hints

import attrs
import pytest
from _world import PostgresWorld

from m25 import JobRecord
from m25._store.columns import COLUMNS, GIVEN, HIDDEN, JobRow
from m25._store.protocol import NewJob
from m25._store.statements import expanded_statements

#: Of a record: what is about the call that has returned it.
NOT_IN_A_ROW = {"unique_outcome"}
TYPES = {"timestamptz": "timestamp with time zone"}


async def test_it_has_every_column_of_the_table_as_the_schema_has_it(
    database: PostgresWorld,
) -> None:
    found = await database.execute(
        "select column_name, data_type, is_generated = 'ALWAYS' from information_schema.columns"
        " where table_schema = 'm25' and table_name = 'job'"
    )
    assert sorted(found) == sorted(
        (name, TYPES.get(column.type, column.type), column.generated)
        for name, column in {**COLUMNS, **HIDDEN}.items()
    )


async def test_a_field_may_be_none_where_its_column_may_be_null(database: PostgresWorld) -> None:
    nullable = await database.execute(
        "select column_name from information_schema.columns"
        " where table_schema = 'm25' and table_name = 'job' and is_nullable = 'YES'"
    )
    for each in (JobRow, JobRecord):
        hints = get_type_hints(each)
        for name in hints.keys() - NOT_IN_A_ROW:
            assert (type(None) in get_args(hints[name])) == ((name,) in nullable), (each, name)


async def test_the_default_of_a_column_is_that_of_the_table(database: PostgresWorld) -> None:
    await database.execute(
        "insert into m25.job (queue_name, input, timeout, attempt) values ('q', '1', '1 s', 1)"
    )
    ((id,),) = await database.execute("select id::text from m25.job")
    row = await database.row(id)
    for name, column in COLUMNS.items():
        if column.default is not None:
            assert getattr(row, name) == column.default


def test_a_record_has_a_field_for_each_and_those_that_enqueue_give_no_value_have_defaults() -> None:
    fields = attrs.fields_dict(JobRecord)
    assert tuple(COLUMNS) == JobRow._fields
    public = tuple(name for name, column in COLUMNS.items() if not column.internal)
    assert tuple(fields) == (*public, *NOT_IN_A_ROW)
    required = {name for name, field in fields.items() if field.default is attrs.NOTHING}
    assert required == {"id", "queue_name", "created_at", "input", "timeout"}


def test_a_new_job_has_what_is_given_in_the_tables_order() -> None:
    assert NewJob._fields == GIVEN


STATEMENTS = expanded_statements()


@pytest.mark.parametrize("name", sorted(STATEMENTS))
def test_no_statement_leaves_it_to_the_table_which_columns_there_are(name: str) -> None:
    text = STATEMENTS[name]
    # All columns of a list of parameters are named where it is made.
    assert not re.search(r"(select|returning) \*(?!\s+from unnest)|\.\*\s", text)
