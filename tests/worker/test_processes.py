"""`runs="process"`: handlers that are a plain `def`, in processes of their own."""

from __future__ import annotations

import importlib
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

import m25
import m25.testing
from m25 import FailureReason
from m25.errors import InvalidQueue, ProcessNotStarted, QueueStartError
from support.cpu import (
    Declined,
    Order,
    endless,
    endless_with_a_child,
    forks,
    says_more,
    work,
)
from support.slow_import import TAKES, sleeping
from support.told import told
from support.waiting import PATIENCE, ended, eventually


def is_alive(pid: int) -> bool:
    """Whether a process is there and has not ended: one that is not reaped yet has."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    return False


async def pid_in(path: Path) -> int:
    """The process that has said that it is at work, once it has."""

    async def look() -> str:
        return path.read_text() if path.exists() else ""  # noqa: ASYNC240

    return int(await eventually(look))


async def test_the_handler_runs_in_another_process_that_is_used_again(dsn: str) -> None:
    async with m25.open(dsn) as m:
        m.add_queue(work)
        await m.start(PATIENCE)
        pids: set[int] = set()
        for number in range(5):
            record = await ended(m, work, (await m.enqueue(work, Order("", number))).id)
            assert record.output["number"] == number
            pids.add(record.output["pid"])
        assert len(pids) == 1
        assert os.getpid() not in pids
    assert not is_alive(pids.pop())


@pytest.mark.slow
async def test_what_it_raises_comes_back_whole(caplog: pytest.LogCaptureFixture) -> None:
    job = await m25.testing.run_job(work, Order("declined", 7))
    assert job.failure_reason is FailureReason.ERRORED
    assert isinstance(job.error_data, Declined)
    assert (job.error_data.reason, job.error_data.order) == ("no money", Order("declined", 7))

    job = await m25.testing.run_job(work, Order("crash"))
    assert (job.crash_type, job.crash_message) == ("ValueError", "it broke")
    assert job.crash_traceback is not None
    assert 'raise ValueError("it broke")' in job.crash_traceback
    assert "handler crashed: ValueError in job" in caplog.text

    job = await m25.testing.run_job(work, Order("exit"))
    assert (job.crash_type, job.crash_message) == ("SystemExit", "3")

    caplog.clear()
    job = await m25.testing.run_job(work, Order("give up by its own class"))
    assert job.crash_message == "no use"
    assert job.crash_type is not None
    assert job.crash_type.endswith("NoUse")
    # What a handler asks for is no crash in the log, wherever the handler runs.
    assert told(caplog, job.id) == ["FailureRequested"]

    job = await m25.testing.run_job(work, Order("current job"))
    assert job.crash_type == "m25.errors.NotInJob"


async def test_what_cannot_be_kept_or_read_is_told_as_of_any_handler(dsn: str) -> None:
    job = await m25.testing.run_job(work, Order("unkept"))
    assert job.crash_type == "m25.errors.ValueRefused"
    assert job.crash_message is not None
    assert job.crash_message.startswith('output["it"]: ')

    async with m25.open(dsn) as m:
        m.add_queue(work)
        await m.start(PATIENCE)
        other = m25.queue("work")(as_anything)
        id = (await m.enqueue(other, {"what": 3})).id
        job = await ended(m, other, id)
    assert job.crash_type == "m25.errors.JobRecordFetchJsonDecodeError"
    assert job.crash_message is not None
    assert ".what" in job.crash_message


async def as_anything(value: Any) -> Any:
    return value


async def test_a_process_that_dies_fails_its_job_alone(dsn: str) -> None:
    async with m25.open(dsn) as m:
        m.add_queue(work)
        await m.start(PATIENCE)
        job = await ended(m, work, (await m.enqueue(work, Order("die"))).id)
        assert (job.failure_reason, job.crash_type) == (
            FailureReason.CRASH,
            "m25.errors.ProcessDied",
        )
        assert job.crash_message is not None
        assert "exit code 3" in job.crash_message
        job = await ended(m, work, (await m.enqueue(work, Order("", 1))).id)
        assert job.output is not None
        pid = job.output["pid"]
        os.kill(pid, signal.SIGKILL)
        job = await ended(m, work, (await m.enqueue(work, Order("", 2))).id)
        assert job.output is not None or job.crash_message is not None


async def test_a_child_that_a_handler_forked_answers_no_job(
    dsn: str, capfd: pytest.CaptureFixture[str]
) -> None:
    async with m25.open(dsn) as m:
        m.add_queue(forks)
        await m.start(PATIENCE)
        for what in ("return", "raise", "nothing"):
            record = await ended(m, forks, (await m.enqueue(forks, what)).id)
            assert record.output == f"of the handler: {what}"
    assert capfd.readouterr().err.count("has come back from the handler") == 2


@pytest.mark.slow
async def test_what_answers_no_call_fails_that_which_is_made_and_none_after_it(dsn: str) -> None:
    async with m25.open(dsn) as m:
        m.add_queue(says_more)
        await m.start(PATIENCE)
        record = await ended(m, says_more, (await m.enqueue(says_more, 0)).id)
        assert record.crash_type == "m25.errors.ProcessDied"
        assert record.crash_message is not None
        assert "answered what it was not asked" in record.crash_message
        for number in (1, 2):
            record = await ended(m, says_more, (await m.enqueue(says_more, number)).id)
            assert record.output == number


async def test_what_a_handler_prints_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    job = await m25.testing.run_job(work, Order("print", 5))
    assert job.output is not None
    job = await m25.testing.run_job(work, Order("declined"))
    assert isinstance(job.error_data, Declined)


async def test_no_more_processes_run_than_the_queue_allows() -> None:
    async with m25.testing.open() as m:
        m.add_queue(work)
        await m.start(PATIENCE)
        await m.enqueue_many(work, [Order("sleep", 0) for _ in range(20)])
        await m25.testing.drain(m)
        pids = {job.output["pid"] for job in m25.testing.jobs(m, work) if job.output}
    assert 1 <= len(pids) <= 2


async def at_work(
    m: m25.M25, queue: m25.Queue[str, Any, Any], path: Path, timeout: float
) -> tuple[m25.JobId, int]:
    """Put a job whose handler says in a file which process is at work; return its id, and which.

    A machine that stands still may let its deadline come before that: then another one is put,
    which has longer.
    """
    while True:
        id = (await m.enqueue(queue, m25.Job(str(path), timeout=timeout))).id

        async def says_or_ends(id: m25.JobId = id) -> bool:
            return path.exists() or (await m.get_job(queue, id)).finished_at is not None  # noqa: ASYNC240

        await eventually(says_or_ends)
        if path.exists():  # noqa: ASYNC240
            return id, await pid_in(path)
        timeout *= 2


async def late_by(dsn: str, path: Path, timeout: float) -> float:
    """Run a handler that nothing but a kill ends; how long after its deadline it was dead."""
    path.unlink(missing_ok=True)  # noqa: ASYNC240
    async with m25.open(dsn) as m:
        m.add_queue(endless)
        await m.start(PATIENCE)
        id, pid = await at_work(m, endless, path, timeout)
        while is_alive(pid):  # noqa: ASYNC110
            await trio.sleep(0.002)
        died = trio.current_time()
        job = await ended(m, endless, id)
        assert job.failure_reason is FailureReason.JOB_TIMEOUT
        assert job.deadline is not None
        assert job.finished_at is not None
        # From the database's clock to Trio's: the row was written after the process had died.
        since = (job.finished_at - job.deadline).total_seconds()
        assert died <= trio.current_time()
        return since


async def test_a_loop_in_c_that_looks_at_no_signal_is_dead_soon_after_its_deadline(
    dsn: str, tmp_path: Path
) -> None:
    late = [await late_by(dsn, tmp_path / "pid", 1.0) for _ in range(2)]
    # The loop by itself would go on for ever; and its grace, were it waited for, for a minute.
    assert max(late) < 30


@pytest.mark.slow
async def test_what_the_handler_has_started_dies_with_it(dsn: str, tmp_path: Path) -> None:
    path = tmp_path / "pid"
    async with m25.open(dsn) as m:
        m.add_queue(endless_with_a_child)
        await m.start(PATIENCE)
        id, pid = await at_work(m, endless_with_a_child, path, 1.5)
        job = await ended(m, endless_with_a_child, id)
        assert job.failure_reason is FailureReason.JOB_TIMEOUT
        assert not is_alive(pid)


async def test_a_stop_that_cannot_wait_kills_the_process_and_releases_the_job(
    dsn: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    path = tmp_path / "pid"
    async with m25.open(dsn, shutdown_grace=0.1) as m:
        m.add_queue(endless)
        await m.start(PATIENCE)
        record = await m.enqueue(endless, str(path))
        pid = await pid_in(path)
        await m.stop()
        assert not is_alive(pid)
        job = await m.get_job(endless, record.id)
        assert (job.status, job.attempt) == (m25.JobStatus.PENDING, 1)
    assert told(caplog, record.id) == ["JobReleased"]


async def test_a_cancel_kills_the_process(dsn: str, tmp_path: Path) -> None:
    path = tmp_path / "pid"
    async with m25.open(dsn) as m:
        m.add_queue(endless)
        await m.start(PATIENCE)
        record = await m.enqueue(endless, str(path))
        pid = await pid_in(path)
        asked = trio.current_time()
        await m.cancel_job(endless, record.id, running=True)
        job = await ended(m, endless, record.id)
        assert job.status is m25.JobStatus.CANCELLED
        assert not is_alive(pid)
        # Long before its grace is over.
        assert trio.current_time() - asked < 30


@pytest.mark.slow
async def test_after_a_kill_the_next_job_finds_a_process(dsn: str, tmp_path: Path) -> None:
    async with m25.open(dsn) as m:
        m.add_queue(work)
        await m.start(PATIENCE)
        slow = m25.Job(Order("sleep", 60), timeout=0.5)
        jobs = [await m.enqueue(work, slow) for _ in range(3)]
        for each in jobs:
            assert (await ended(m, work, each.id)).failure_reason is FailureReason.JOB_TIMEOUT
        job = await ended(m, work, (await m.enqueue(work, Order("", 1))).id)
        assert job.output is not None


@pytest.mark.slow
async def test_the_start_of_a_process_is_not_on_the_clock_of_the_job_that_waits_for_it(
    dsn: str,
) -> None:
    async with m25.open(dsn) as m:
        m.add_queue(sleeping)
        await m.start(PATIENCE)
        brief = m25.Job(60.0, timeout=0.3)
        innocent = m25.Job(0.0, timeout=TAKES - 0.2)

        async def has_time() -> bool:
            """Whether a job succeeds whose process takes longer to start than the job has."""
            with pytest.raises(m25.JobFailed, match="job_timeout"):
                await m.call(sleeping, brief)
            try:
                return await m.call(sleeping, innocent) == 0.0
            except m25.JobFailed:
                # The machine may have stood still once the process was there; not again and again.
                return False

        with trio.fail_after(2 * PATIENCE):
            await eventually(has_time, PATIENCE)
            # Once its process is there, a job has its own time, and no more.
            with pytest.raises(m25.JobFailed, match="job_timeout"):
                await m.call(sleeping, brief)


async def test_under_a_clock_that_jumps_a_process_has_the_time_it_takes(
    autojump_clock: trio.testing.MockClock,
) -> None:
    job = await m25.testing.run_job(work, m25.Job(Order("", 1), timeout=1))
    assert job.output is not None
    async with m25.testing.open() as m:
        m.add_queue(work)
        await m.start(PATIENCE)
        await m.enqueue(work, m25.Job(Order("", 1), timeout=1))
        await m25.testing.drain(m)
        (job,) = m25.testing.jobs(m, work)
    assert job.output is not None


async def test_an_around_sees_the_declared_error_itself() -> None:
    seen: list[BaseException] = []

    @asynccontextmanager
    async def watching(job: m25.RunningJob[Any, Any, Any]) -> AsyncIterator[None]:
        assert job.input.what in ("declined", "crash")
        try:
            yield
        except Exception as error:
            seen.append(error)
            raise

    await m25.testing.run_job(work, Order("declined"), around=[watching])
    await m25.testing.run_job(work, Order("crash"), around=[watching])
    declined, crashed = seen
    assert isinstance(declined, Declined)
    assert isinstance(crashed, m25.errors.RaisedInProcess)
    assert crashed.type_name == "ValueError"


async def test_a_queue_that_no_process_could_import_is_refused() -> None:
    @m25.queue("local", runs="process")
    def local(number: int) -> int:
        return number

    async with m25.testing.open() as m:
        with pytest.raises(InvalidQueue, match=r"'local'.*at the top of no module"):
            m.add_queue(local)
    with pytest.raises(InvalidQueue, match="at the top of no module"):
        await m25.testing.run_job(local, 1)


def test_what_cannot_be_in_the_process_is_refused_at_the_declaration() -> None:
    @asynccontextmanager
    async def resource() -> AsyncIterator[str]:
        yield ""

    def plain(number: int, resource: str = "", shared: str = "") -> int:
        return number

    for name in ("setup", "lifespan"):
        with pytest.raises(InvalidQueue, match=f'{name} cannot be had with runs="process"'):
            m25.queue("x", runs="process", **{name: resource})(plain)  # type: ignore[call-overload]


@pytest.mark.slow
async def test_a_start_says_what_a_process_could_not_import(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    module = tmp_path / "m25_test_gone.py"
    module.write_text(
        "import m25\n\n"
        "@m25.queue('gone', runs='process')\n"
        "def gone(number: int) -> int:\n"
        "    return number\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    gone = importlib.import_module("m25_test_gone").gone
    module.unlink()
    async with m25.testing.open() as m:
        m.add_queue(gone)
        reason = r"its processes could not be opened, m25\.errors\.ProcessNotStarted: a process"
        with pytest.raises(QueueStartError, match=reason) as error:
            await m.start(queue_init_timeout=0.1)
    cause = error.value.__cause__
    assert isinstance(cause, ProcessNotStarted)
    assert "ModuleNotFoundError: No module named 'm25_test_gone'" in str(cause)


def keepers() -> list[int]:
    """The keepers of this program's processes."""
    found: list[int] = []
    for directory in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent = (directory / "stat").read_text().rpartition(") ")[2].split()[1]
            command = (directory / "cmdline").read_bytes()
            if int(parent) == os.getpid() and b"_processes/_keeper.py" in command:
                found.append(int(directory.name))
    return found


async def test_a_keeper_that_ends_is_told_and_replaced(
    dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with m25.open(dsn) as m:
        m.add_queue(work)
        await m.start(PATIENCE)
        (keeper,) = keepers()
        os.kill(keeper, signal.SIGKILL)
        job = await ended(m, work, (await m.enqueue(work, Order("", 1))).id)
        assert job.output is not None or job.crash_type == "m25.errors.ProcessDied"

        async def was_told() -> bool:
            return "QueueUnready" in told(caplog)

        await eventually(was_told)
        job = await ended(m, work, (await m.enqueue(work, Order("", 2))).id)
        assert job.output is not None


@pytest.mark.slow
async def test_a_program_that_a_process_would_start_again_says_so(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import m25, m25.testing, trio, trio.testing\n\n"
        "@m25.queue('mine', runs='process')\n"
        "def mine(number: int) -> int:\n"
        "    return number\n\n"
        "async def main() -> None:\n"
        "    async with m25.testing.open() as m:\n"
        "        m.add_queue(mine)\n"
        "        await m.start(0.1)\n"
        "        print('started')\n\n"
        # However long it takes to start a process: what it says is heard before that time is over.
        "trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))\n"
    )
    done = await trio.run_process(
        [sys.executable, str(program)], capture_stdout=True, capture_stderr=True, check=False
    )
    assert b"start the program below `if __name__" in done.stderr
