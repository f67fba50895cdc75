"""A revision of the project, run beside another on one server, in databases of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import psycopg
from psycopg.conninfo import make_conninfo

from . import report

ROOT = Path(__file__).parent.parent
DRIVER = Path(__file__).with_name("driver.py")

#: Counters of the server's, and of the database of a run.
COUNTERS = {
    "WAL": "select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')",
    "commits": "select xact_commit from pg_stat_database where datname = %(database)s",
    "statements": (
        "select coalesce(sum(calls), 0) from pg_stat_statements"
        " where dbid = (select oid from pg_database where datname = %(database)s) and toplevel"
    ),
}


@attrs.frozen
class Scenario:
    """Work that a revision does; its figures are per job."""

    name: str
    #: What the driver does in the run.
    command: str
    #: How many jobs there are, for each that was asked for.
    share: float
    #: The statuses of the rows that every job leaves, one each.
    outcome: tuple[str, ...]
    #: What the driver does before the run, to put the jobs there.
    fill: str | None = None

    def jobs(self, asked_for: int) -> int:
        return int(asked_for * self.share)


@contextmanager
def source_of(revision: str) -> Generator[Path]:
    """The `src` of another revision, in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="m25-pairs-") as folder:
        archive = subprocess.run(
            ["git", "archive", "--format=tar", revision, "src"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            check=True,
        )
        subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
        yield Path(folder, "src")


def describe(revision: str | None = None) -> str:
    """The name of a revision; of this checkout, which may have changes, if none is given."""
    what = ["--dirty"] if revision is None else [revision]
    command = ["git", "describe", "--always", "--abbrev=12", "--exclude=*", *what]
    found = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return found.stdout.strip()


def counts_statements(server: str) -> bool:
    """Whether the server can count statements; it is made ready to."""
    with psycopg.connect(server, autocommit=True) as connection:
        if "pg_stat_statements" not in _first(connection, "show shared_preload_libraries"):
            return False
        connection.execute("create extension if not exists pg_stat_statements")
        return True


def _first(
    connection: psycopg.Connection, query: str, parameters: Mapping[str, str] | None = None
) -> Any:
    row = connection.execute(query.encode(), parameters).fetchone()
    assert row is not None
    return row[0]


@attrs.frozen
class Side:
    """One of the two revisions, and its databases."""

    name: str
    source: Path
    server: str
    counts_statements: bool

    def migrate(self) -> None:
        """Make an empty database, by this revision's migrations."""
        self._create("empty")
        migrate = self._start(
            *("-m", "m25", "migrate", "--apply", "--silent"),
            environment={"DATABASE_URL": self._dsn("empty")},
        )
        self._finish(migrate)
        self._tidy("empty")

    def fill(self, command: str, jobs: int) -> None:
        """Make a database with jobs in it, named for how they were put there and their number."""
        database = f"{command}_{jobs}"
        self._create(database, "empty")
        self._finish(self._drive(command, database, jobs))
        self._tidy(database)

    def run(self, scenario: Scenario, jobs: int) -> dict[str, float]:
        """Run a scenario in a fresh process and a fresh database; return the figures."""
        self._create("run", f"{scenario.fill}_{jobs}" if scenario.fill else "empty")
        with psycopg.connect(self.server, autocommit=True) as connection:
            connection.execute("checkpoint")
            before = self._counters(connection)
            took = json.loads(self._finish(self._drive(scenario.command, "run", jobs)))
            self._wait_until_left(connection, "run")
            after = self._counters(connection)
        self._check(dict.fromkeys(scenario.outcome, jobs))
        return {
            "rate": jobs / took["seconds"],
            "processor time": took["processor_seconds"] / jobs * 1e6,
            **{name: (after[name] - before[name]) / jobs for name in before},
        }

    def latency(self, jobs: int) -> dict[str, float]:
        """Run a worker, and enqueue from another process; return percentiles in milliseconds."""
        self._create("run", "empty")
        with self._drive("listen", "run", jobs) as worker:
            assert worker.stdout is not None
            try:
                assert worker.stdout.readline() == "ready\n"
                self._finish(self._drive("send", "run", jobs))
                found = json.loads(self._finish(worker))
            finally:
                worker.terminate()
        self._check({"succeeded": jobs})
        return report.percentiles(found)

    def drop_databases(self) -> None:
        """Remove what was made."""
        with psycopg.connect(self.server, autocommit=True) as connection:
            query = "select datname from pg_database where starts_with(datname, %s)"
            for (name,) in connection.execute(query, [self._name("")]).fetchall():
                connection.execute(f"drop database {name} with (force)".encode())

    def _dsn(self, database: str) -> str:
        return make_conninfo(self.server, dbname=self._name(database))

    def _name(self, database: str) -> str:
        return f"m25_pairs_{self.name}_{database}"

    def _create(self, database: str, template: str | None = None) -> None:
        """Make a database, instead of one that may be there."""
        source = f" template {self._name(template)}" if template else ""
        with psycopg.connect(self.server, autocommit=True) as connection:
            for command in (
                f"drop database if exists {self._name(database)}",
                f"create database {self._name(database)}{source}",
            ):
                connection.execute(command.encode())

    def _tidy(self, database: str) -> None:
        """Leave the server nothing to do for what was inserted, and nobody connected."""
        with psycopg.connect(self._dsn(database), autocommit=True) as connection:
            connection.execute("vacuum analyze")
            # Whoever first reads the new statistics marks on their page that they are committed,
            # and writes an image of the page: with few jobs that is a per cent or two of a run.
            connection.execute("vacuum")
        with psycopg.connect(self.server, autocommit=True) as connection:
            self._wait_until_left(connection, database)

    def _wait_until_left(self, connection: psycopg.Connection, database: str) -> None:
        """Wait for the last connection to close, with which the database's counters are right."""
        query = "select count(*) from pg_stat_activity where datname = %(database)s"
        while _first(connection, query, {"database": self._name(database)}):
            time.sleep(0.01)

    def _counters(self, connection: psycopg.Connection) -> dict[str, float]:
        database = {"database": self._name("run")}
        return {
            name: float(_first(connection, query, database))
            for name, query in COUNTERS.items()
            if name != "statements" or self.counts_statements
        }

    def _check(self, expected: Mapping[str, int]) -> None:
        """See that every job ended as it should."""
        with psycopg.connect(self._dsn("run")) as connection:
            query = "select status::text, count(*) from m25.job group by status"
            found: dict[str, int] = dict(connection.execute(query).fetchall())
        assert found == expected, f"{self.name}: jobs by status are {found}, not {expected}"

    def _drive(self, command: str, database: str, jobs: int) -> subprocess.Popen[str]:
        return self._start(str(DRIVER), command, str(self.source), self._dsn(database), str(jobs))

    def _start(
        self, *arguments: str, environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[str]:
        """Start Python with this revision's m25, and without the script's folder in its path."""
        return subprocess.Popen(
            [sys.executable, "-P", *arguments],
            env={**os.environ, "PYTHONPATH": str(self.source), **(environment or {})},
            stdout=subprocess.PIPE,
            text=True,
        )

    def _finish(self, process: subprocess.Popen[str]) -> str:
        """Wait for the end of a process, and return what it printed."""
        output, _ = process.communicate()
        assert process.returncode == 0, f"{self.name}: a process ended with {process.returncode}"
        return output
