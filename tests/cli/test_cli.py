"""The command, as a deploy script meets it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
import trio
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from m25 import migrations, pg
from support.commands import Run
from support.databases import (
    ADDITION,
    AWKWARD_NAME,
    WAITING,
    catalog,
    feed_psql,
    has_schema,
    rows_of,
    upgrade,
)
from support.waiting import PATIENCE

#: Stands for a password in these tests; no output may hold it.
SECRET = "sesame"


def start(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    """Run the command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "m25", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


def url_of(dsn: str, scheme: str = "postgresql") -> str:
    """The same address as a URL."""
    part = conninfo_to_dict(dsn)
    host, port, name = part["host"], part.get("port", 5432), part["dbname"]
    return f"{scheme}://{part['user']}:{part['password']}@{host}:{port}/{name}"


# Migrating


def test_migrate_prints_the_sql_that_is_needed_and_changes_nothing(
    run: Run, empty_dsn: str
) -> None:
    code, out, err = run("migrate", "--addr", empty_dsn)
    assert code == 0
    assert out == migrations.script(migrations.all_migrations(), "m25")
    assert "needs 0001_original_tables, 0002_claims_and_priorities" in err
    assert not has_schema(empty_dsn)


def test_migrate_prints_nothing_on_stdout_when_nothing_is_needed(run: Run, dsn: str) -> None:
    code, out, err = run("migrate", "--addr", dsn)
    assert (code, out) == (0, "")
    assert "up to date" in err


def test_what_migrate_prints_makes_what_apply_makes(run: Run, empty_dsn: str, dsn: str) -> None:
    feed_psql(empty_dsn, run("migrate", "--addr", empty_dsn)[1])
    assert catalog(empty_dsn) == catalog(dsn)
    assert run("migrate", "--addr", empty_dsn)[1] == ""


def test_migrate_prints_only_the_missing_steps(run: Run, empty_dsn: str) -> None:
    first, *others = migrations.all_migrations()
    feed_psql(empty_dsn, migrations.script([first], "m25"))
    assert run("migrate", "--addr", empty_dsn)[1] == migrations.script(others, "m25")


def test_apply_migrates_and_a_second_time_finds_nothing_to_do(run: Run, empty_dsn: str) -> None:
    code, out, err = run("migrate", "--apply", "--addr", empty_dsn)
    assert (code, out) == (0, "")
    assert "applied 0001_original_tables, 0002_claims_and_priorities" in err
    before = catalog(empty_dsn)
    code, out, err = run("migrate", "--apply", "--addr", empty_dsn)
    assert (code, out) == (0, "")
    assert "up to date" in err
    assert catalog(empty_dsn) == before


def test_the_schema_may_have_any_name(run: Run, empty_dsn: str) -> None:
    address = ["--addr", empty_dsn, f"--schema={AWKWARD_NAME}"]
    assert run("migrate", "--check", *address)[0] == 3
    assert run("migrate", "--apply", *address)[0] == 0
    assert run("migrate", "--check", *address)[0] == 0
    assert has_schema(empty_dsn, AWKWARD_NAME)


@pytest.mark.parametrize("schema", ["", "x" * 64, "ü" * 32, "\ud800"])
def test_a_name_that_postgresql_cannot_hold_is_wrong_usage(
    run: Run, empty_dsn: str, schema: str
) -> None:
    code, out, err = run("migrate", "--apply", "--addr", empty_dsn, "--schema", schema)
    assert (code, out) == (2, "")
    assert "the name of a schema" in err


def test_check_tells_by_its_exit_code_alone(run: Run, empty_dsn: str, dsn: str) -> None:
    assert run("migrate", "--check", "--silent", "--addr", empty_dsn) == (3, "", "")
    assert run("migrate", "--check", "--silent", "--addr", dsn) == (0, "", "")
    assert not has_schema(empty_dsn)


def test_silent_leaves_out_messages_but_neither_sql_nor_errors(
    run: Run, empty_dsn: str, dsn: str
) -> None:
    code, out, err = run("migrate", "--silent", "--addr", empty_dsn)
    assert (code, err) == (0, "")
    assert out.startswith("begin;")
    assert run("migrate", "--silent", "--apply", "--addr", empty_dsn) == (0, "", "")
    with psycopg.connect(dsn) as connection:
        connection.execute("insert into m25.version (version) values ('2999-01-01')")
    code, out, err = run("migrate", "--silent", "--apply", "--addr", dsn)
    assert (code, out) == (1, "")
    assert "install the m25 that migrated it" in err


@pytest.mark.parametrize("way", ["--apply", "--check", "--silent"])
def test_a_database_newer_than_this_m25_is_an_error(run: Run, dsn: str, way: str) -> None:
    newer = migrations.latest_version() + timedelta(seconds=1)
    with psycopg.connect(dsn) as connection:
        connection.execute("insert into m25.version (version) values (%s)", [newer])
    before = catalog(dsn)
    code, out, err = run("migrate", way, "--addr", dsn)
    assert (code, out) == (1, "")
    assert "this m25 knows versions up to" in err
    assert catalog(dsn) == before


@pytest.mark.parametrize("way", [(), ("--apply",), ("--check",)])
def test_a_newer_database_that_this_m25_works_with_is_left_as_it_is(
    run: Run, dsn: str, way: tuple[str, ...]
) -> None:
    ours = migrations.latest_version()
    trio.run(lambda: upgrade(dsn, ADDITION, works_from=ours))
    before, versions = catalog(dsn), rows_of(dsn, "m25.version")
    code, out, err = run("migrate", *way, "--addr", dsn)
    assert (code, out) == (0, "")
    assert "newer than this m25, which works with it: nothing to do" in err
    assert run("migrate", *way, "--silent", "--addr", dsn) == (0, "", "")
    assert catalog(dsn) == before
    assert rows_of(dsn, "m25.version") == versions


def test_of_two_processes_at_once_one_migrates_and_all_succeed(empty_dsn: str) -> None:
    processes = [start("migrate", "--apply", "--addr", empty_dsn) for _ in range(2)]
    said = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0] * 2, said
    assert sum("applied" in err for _, err in said) == 1
    assert sum("up to date" in err for _, err in said) == 1
    assert len(rows_of(empty_dsn, "m25.version")) == len(migrations.all_migrations())


async def test_ctrl_c_while_waiting_for_the_lock_changes_nothing(empty_dsn: str) -> None:
    async with await pg.AsyncConnection.connect(empty_dsn) as other:
        await other.execute(migrations._take_lock("m25").encode())
        process = start("migrate", "--apply", "--addr", empty_dsn)
        with trio.fail_after(PATIENCE):
            while await (await other.execute(WAITING)).fetchone() != (1,):  # noqa: ASYNC110
                await trio.sleep(0.01)
        process.send_signal(signal.SIGINT)
        out, err = await trio.to_thread.run_sync(process.communicate)
        assert (process.returncode, out, err) == (130, "", "m25: interrupted\n")
    assert not has_schema(empty_dsn)


def test_whoever_reads_the_sql_may_stop_early(empty_dsn: str) -> None:
    reads, writes = os.pipe()
    # Before it has printed anything: all of it would have room in a pipe.
    os.close(reads)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "m25", "migrate", "--addr", empty_dsn],
            stdout=writes,
            stderr=subprocess.PIPE,
            text=True,
            timeout=PATIENCE,
        )
    finally:
        os.close(writes)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


# Addresses


def test_the_address_may_come_from_database_url(
    run: Run, empty_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", url_of(empty_dsn))
    assert run("migrate", "--apply")[0] == 0
    assert has_schema(empty_dsn)


def test_the_address_may_come_from_libpqs_environment(
    run: Run, empty_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD"}
    for part, value in conninfo_to_dict(empty_dsn).items():
        monkeypatch.setenv(names.get(part, "PGDATABASE"), str(value))
    code, _, err = run("migrate", "--apply")
    assert code == 0
    # And the message says where that was.
    part = conninfo_to_dict(empty_dsn)
    assert f"{part['user']}@{part['host']}" in err
    assert f"/{part['dbname']}: applied" in err
    assert has_schema(empty_dsn)


def test_the_option_wins_over_the_environment(
    run: Run, empty_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://localhost:1/elsewhere")
    assert run("migrate", "--apply", "--addr", empty_dsn)[0] == 0
    assert has_schema(empty_dsn)


@pytest.mark.parametrize(
    "scheme", ["postgresql", "postgres", "postgresql+psycopg", "postgresql+asyncpg"]
)
def test_a_url_may_name_a_driver(run: Run, empty_dsn: str, scheme: str) -> None:
    assert run("migrate", "--apply", "--addr", url_of(empty_dsn, scheme))[0] == 0
    assert has_schema(empty_dsn)


def test_a_server_that_does_not_answer_is_an_error_that_names_it(run: Run) -> None:
    address = f"postgresql://deploy:{SECRET}@127.0.0.1:1/shop"
    code, out, err = run("migrate", "--apply", "--addr", address)
    assert (code, out) == (1, "")
    assert "deploy@127.0.0.1:1/shop" in err
    assert "Connection refused" in err
    assert SECRET not in err


@pytest.mark.parametrize(
    "change",
    [{"password": SECRET}, {"user": "nobody", "password": SECRET}, {"dbname": "nowhere"}],
    ids=["password", "user", "database"],
)
def test_a_server_that_refuses_is_an_error_that_says_why(
    run: Run, empty_dsn: str, change: Mapping[str, str]
) -> None:
    if "password" in change and not conninfo_to_dict(empty_dsn).get("password"):
        pytest.skip("this server asks for no password")
    code, out, err = run("migrate", "--addr", make_conninfo(empty_dsn, **change))
    assert (code, out) == (1, "")
    assert "failed" in err or "does not exist" in err
    assert SECRET not in err


#: Addresses as people mistype them, each of which somebody could take for what it is not.
MISTYPED = [
    f"postgresql://deploy:{SECRET}@@127.0.0.1:1/shop",
    f"postgresql://deploy:x@{SECRET}@127.0.0.1:1/shop",
    f"postgresql://deploy:{SECRET}/x@127.0.0.1:1/shop",
    f"postgresql://deploy:x/{SECRET}@127.0.0.1:1/shop",
    f"postgresql://deploy:x?{SECRET}@127.0.0.1:1/shop",
    f"postgresql://deploy:%{SECRET}@127.0.0.1:1/shop",
    f"postgresql://deploy:{SECRET}#x@127.0.0.1:1/shop",
    f"postgresql://deploy:[{SECRET}@127.0.0.1:1/shop",
    f"postgresql://deploy:{SECRET} x@127.0.0.1:1/shop",
    f"postgresql://deploy:{SECRET}",
    f"postgresql://deploy:{SECRET}/shop",
    f"postgresql://de@ploy:{SECRET}@127.0.0.1:1/shop",
    f"postgresql://127.0.0.1:1/shop?password={SECRET}&bogus=1",
    f"postgresql://127.0.0.1:1/shop?pass={SECRET}",
    f"postgresql://127.0.0.1:1/shop&password={SECRET}",
    f"postgresql://127.0.0.1:1/shop;password={SECRET}",
    f"postgresql+psycopg://deploy:x@{SECRET}@127.0.0.1:1/shop",
    f"postgresql+psy-copg://deploy:{SECRET}@127.0.0.1:1/shop",
    f"postgresql:/deploy:{SECRET}@127.0.0.1:1/shop",
    f"mysql://deploy:{SECRET}@127.0.0.1:1/shop",
    f"jdbc:postgresql://127.0.0.1:1/shop?user=deploy&password={SECRET}",
    f"host=127.0.0.1 port=1 password={SECRET} bogus=1",
    f"host=127.0.0.1 port=1 password=x {SECRET}",
    f"host=127.0.0.1 port=1 password='{SECRET}",
    f"host=127.0.0.1 port=1 pass={SECRET}",
    f"host=127.0.0.1,port=1,password={SECRET}",
    f"host=127.0.0.1;port=1;password={SECRET}",
    f"host=127.0.0.1 port=1,password={SECRET}",
    f"host=127.0.0.1 port=1 dbname=shop;password={SECRET}",
    f"host=127.0.0.1 port=1 user=deploy,Password={SECRET}",
    f"host=127.0.0.1 port=one password={SECRET}",
    f"host=127.0.0.1 port=1 sslmode=what password={SECRET}",
    f"host=nowhere.invalid port=1 password={SECRET}",
    f"deploy:{SECRET}@127.0.0.1/shop",
    SECRET,
]


@pytest.mark.parametrize("address", MISTYPED)
@pytest.mark.parametrize("command", ["migrate", "demo"])
def test_a_password_is_never_printed(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, address: str, command: str
) -> None:
    directory = [str(tmp_path)] if command == "demo" else []
    code, out, err = run(command, *directory, "--addr", address)
    assert code in (1, 2)
    assert err.startswith("m25: ")
    assert SECRET not in out + err
    if command == "migrate":
        monkeypatch.setenv("DATABASE_URL", address)
        assert run(command)[0] == code
        assert SECRET not in "".join(map(str, run(command)))


@pytest.mark.parametrize(
    "arguments",
    [
        ["migrate", "--addr", "host=db", f"password={SECRET}"],
        ["migrate", "--addr", "host=db", "password=", SECRET],
        ["migrate", f"postgresql://deploy:{SECRET}@db/shop"],
        [f"postgresql://deploy:{SECRET}@db/shop"],
        ["demo", ".", f"postgresql://deploy:{SECRET}@db/shop"],
    ],
)
def test_wrong_usage_repeats_no_password_either(run: Run, arguments: list[str]) -> None:
    code, out, err = run(*arguments)
    assert code == 2
    assert "usage: m25" in err
    assert SECRET not in out + err


def test_an_address_that_is_right_is_not_refused_for_looking_odd(run: Run) -> None:
    # Each is read as it is meant, and refused by nobody but the server, which is not there.
    for address in [
        "postgresql://de%40ploy:se%40s%2Fame@127.0.0.1:1/shop",
        "postgresql://deploy@127.0.0.1:1,127.0.0.2:1/shop",
        "postgresql:///shop?host=127.0.0.1&port=1&user=a@b",
        "postgresql://127.0.0.1:1/shop?application_name=a@b",
        "host=/nowhere/at/all port=1 dbname=shop",
        "host=127.0.0.1 port=1 password='a b@c/d'",
        "host=127.0.0.1 port=1 user=a@b",
    ]:
        code, _, err = run("migrate", "--addr", address)
        assert code == 1, err
        assert "cannot be used: connection" in err


# The command itself


def test_help_and_version_import_no_subcommand() -> None:
    program = (
        "import sys; from m25.cli import main\n"
        "try: main([sys.argv[1]])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "assert not {'m25.cli.migrate', 'm25.cli.demo'} & set(sys.modules)"
    )
    for option, expected in [("--help", "migrate"), ("--version", "m25 ")]:
        command = [sys.executable, "-c", program, option]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert expected in done.stdout


@pytest.mark.parametrize("command", ["migrate", "demo"])
def test_the_help_of_a_subcommand_lists_its_exit_codes(run: Run, command: str) -> None:
    code, out, err = run(command, "--help")
    assert (code, err) == (0, "")
    assert "exit codes:" in out


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["migrate", "--apply", "--check"]])
def test_wrong_usage_is_exit_code_2(run: Run, arguments: list[str]) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert "usage: m25" in err
