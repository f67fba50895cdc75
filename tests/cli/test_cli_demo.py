"""The demo: that it shows what it says, and notices when something is wrong."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import psycopg
import pytest
import trio

from m25.cli.demo import files
from m25.cli.demo.account import NEVER, Line, compare
from m25.cli.demo.jobs import Facts, NotPython, NotText, examine
from m25.cli.demo.play import conclude

#: In seconds: the demo starts a server and five processes, on a machine that may be busy.
PATIENCE = 200.0

#: What the table must say of a folder of three good files and one bad, beside the demo's own two.
EXPECTED: Mapping[tuple[str, str], int] = {
    ("files", "succeeded"): 3,
    ("files", "failed (error)"): 3,
    ("files", "errors read back equal"): 3,
    ("files", "lines counted"): 6,
    ("files", "functions counted"): 2,
    ("files", "classes counted"): 1,
    ("a killed worker", "failed (heartbeat_timeout)"): 3,
    ("a killed worker", "succeeded"): 3,
    ("a retry with delay", "failed (error)"): 2,
    ("a retry with delay", "succeeded"): 1,
    ("a deadline", "failed (job_timeout)"): 1,
    ("a scheduled job", "succeeded"): 1,
    ("a refused unique key", "succeeded"): 1,
    ("a cancelled job", "cancelled"): 1,
    ("an enqueue rolled back", "succeeded"): 0,
    ("an enqueue committed", "succeeded"): 1,
    ("all", "acts played"): 8,
    **NEVER,
}


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A folder of files: three that are Python, one that is not, and some that are left out."""
    folder = tmp_path / "sources"
    (folder / "below").mkdir(parents=True)
    (folder / "site-packages").mkdir()
    (folder / "one.py").write_text("def one():\n    return 1\n")
    (folder / "two.py").write_text("class Two:\n    async def two(self):\n        return 2\n")
    (folder / "below" / "three.py").write_text("THREE = 3\n")
    (folder / "bad.py").write_text("return = 4\n")
    (folder / "notes.txt").write_text("not a source file")
    (folder / "site-packages" / "other.py").write_text("OTHER = 5\n")
    (folder / "long.py").write_text("#" * (files.LONGEST + 1))
    (folder / "link.py").symlink_to(folder / "one.py")
    os.mkfifo(folder / "pipe.py")
    return folder


@pytest.mark.timeout(2 * PATIENCE)
async def test_the_demo_ends_with_a_table_in_which_every_count_is_right(
    empty_dsn: str, sources: Path
) -> None:
    command = [sys.executable, "-m", "m25", "demo", str(sources), "--addr", empty_dsn]
    with trio.fail_after(PATIENCE):
        done = await trio.run_process(
            command, capture_stdout=True, capture_stderr=True, check=False
        )
    out = done.stdout.decode()
    assert done.returncode == 0, out + done.stderr.decode()
    assert done.stderr == b""
    for event in [
        "worker 3 killed with SIGKILL, 3 jobs in its hands",
        "worker 4 runs them again",
        "Locked(path=",
        "cancelled at the deadline",
        "after its time",
        "refused: unique key 'unique.txt' is held by job",
        "scheduled for tomorrow, and cancelled",
        "the transaction was rolled back: queue 'arrivals' has no job",
        "the transaction was committed: succeeded, Receipt(size=",
        "every count is right",
    ]:
        assert event in out, out
    table = [line.split("  ") for line in out.splitlines() if line.endswith("  ok")]
    cells = [[cell.strip() for cell in row if cell] for row in table]
    assert {(act, what): int(found) for act, what, _, found, _ in cells} == EXPECTED
    assert "WRONG" not in out
    with psycopg.connect(empty_dsn) as connection:
        schemas = connection.execute("select nspname from pg_namespace where nspname ~ 'm25'")
        assert schemas.fetchall() == []


@pytest.mark.slow
@pytest.mark.timeout(2 * PATIENCE)
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_ends_at_once_and_leaves_no_process(
    sources: Path, number: signal.Signals
) -> None:
    command = [sys.executable, "-m", "m25", "demo", str(sources)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if "killed with SIGKILL" in line:
                break
        # The server and its keeper, and three workers.
        processes = descendants(demo.pid)
        assert len(processes) > 4
        demo.send_signal(number)
        rest = demo.stdout.read()
        assert demo.wait(PATIENCE) == 128 + number
    assert "Traceback" not in rest
    await_end(processes)


def descendants(pid: int) -> set[int]:
    """The processes below this one."""
    parents: dict[int, int] = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # After the name, which may hold anything, come the state and the parent.
            parents[int(file.parent.name)] = int(file.read_text().rpartition(")")[2].split()[1])
    found: set[int] = set()
    while more := {each for each, parent in parents.items() if parent in {pid, *found}} - found:
        found |= more
    return found


def await_end(processes: set[int]) -> None:
    """Wait until these have ended.

    Raises:
        AssertionError: one has not in time.
    """
    patience = time.monotonic() + PATIENCE
    while alive := [pid for pid in processes if Path(f"/proc/{pid}").exists()]:
        assert time.monotonic() < patience, alive
        time.sleep(0.01)


def test_a_folder_that_is_not_there_is_wrong_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from m25.cli import main

    assert main(["demo", str(tmp_path / "nowhere")]) == 2
    assert "is not a folder" in capsys.readouterr().err


# The account


def test_equal_counts_are_right() -> None:
    counts = {("files", "succeeded"): 3, ("a deadline", "failed (job_timeout)"): 1}
    assert all(line.is_right for line in compare(counts, dict(counts)))


@pytest.mark.parametrize(
    ("found", "wrong"),
    [
        ({("files", "succeeded"): 2}, Line("files", "succeeded", 3, 2)),
        ({("files", "succeeded"): 4}, Line("files", "succeeded", 3, 4)),
        ({}, Line("files", "succeeded", 3, 0)),
        (
            {("files", "succeeded"): 3, ("files", "failed (crash)"): 1},
            Line("files", "failed (crash)", 0, 1),
        ),
    ],
    ids=["too few", "too many", "missing", "unexpected"],
)
def test_any_other_count_is_wrong(
    found: Mapping[tuple[str, str], int], wrong: Line, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = compare({("files", "succeeded"): 3}, found)
    assert [line for line in lines if not line.is_right] == [wrong]
    assert conclude(lines, 1.0) == 1
    assert f"1 of {len(lines)} counts are WRONG" in capsys.readouterr().out


def test_what_is_expected_to_be_absent_may_be_absent() -> None:
    lines = compare({("an enqueue rolled back", "succeeded"): 0}, {})
    assert lines == [Line("an enqueue rolled back", "succeeded", 0, 0)]
    assert conclude(lines, 1.0) == 0


# The files


def test_files_are_found_in_order_and_only_those_that_can_be_read(sources: Path) -> None:
    names = [Path(path).relative_to(sources).as_posix() for path in files.find(sources)]
    assert names == ["bad.py", "one.py", "two.py", "below/three.py"]


def test_no_more_files_are_read_than_the_bound(
    sources: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "MOST", 2)
    assert len(files.find(sources)) == 2


def test_a_file_is_examined_or_refused_with_the_reason(tmp_path: Path) -> None:
    not_text, not_python = files.put_broken(tmp_path)
    with pytest.raises(NotText):
        examine(not_text)
    with pytest.raises(NotPython) as caught:
        examine(not_python)
    assert caught.value.line == 1
    good = tmp_path / "good.py"
    good.write_text("class A:\n    def b(self):\n        def c(): ...\n")
    assert examine(str(good)) == Facts(lines=3, functions=2, classes=1)
