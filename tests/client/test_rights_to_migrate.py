"""Whoever may create tables in the schema can migrate it."""

from __future__ import annotations

from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from m25.cli import main


@pytest.mark.parametrize("schema", ["m25", 'o\'brien "x" $do$'])
def test_a_role_that_may_create_nothing_but_what_is_in_the_schema_migrates(
    empty_dsn: str, schema: str, capsys: pytest.CaptureFixture[str]
) -> None:
    role = f"r{uuid4().hex[:8]}"
    names = {"role": sql.Identifier(role), "schema": sql.Identifier(schema)}
    with psycopg.connect(empty_dsn, autocommit=True) as admin:
        admin.execute(sql.SQL("create role {role} login password 'x'").format(**names))
        admin.execute(sql.SQL("create schema {schema}").format(**names))
    dsn = make_conninfo(empty_dsn, user=role, password="x")
    command = ["migrate", "--apply", "--schema", schema, "--addr"]
    assert main([*command, dsn]) == 1
    assert "permission denied for schema" in capsys.readouterr().err
    with psycopg.connect(empty_dsn, autocommit=True) as admin:
        admin.execute(sql.SQL("grant usage, create on schema {schema} to {role}").format(**names))
    assert main([*command, dsn]) == 0


def test_a_schema_that_is_missing_is_created(empty_dsn: str) -> None:
    for schema in ("m25", 'o\'brien "x" $do$'):
        assert main(["migrate", "--apply", "--schema", schema, "--addr", empty_dsn]) == 0
