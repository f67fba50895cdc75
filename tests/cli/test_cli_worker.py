"""`m25 worker`: the queues of a module, run by processes that are stopped, killed and asked."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
import pytest
import trio
import trio.testing

import m25
from m25.cli import main, worker
from m25.cli._reload import watch
from m25.cli._supervise import Supervisor
from support.waiting import eventually, rows

#: In seconds: a process that is started imports all that m25 has, on a machine that may be busy.
PATIENCE = 60.0

MODULE = """
import os
import time
from contextlib import asynccontextmanager

import trio

import m25

while os.path.exists("held"):
    time.sleep(0.01)

@m25.queue("pids", poll_interval=0.2, heartbeat_interval=0.5)
async def pids(blocks: float) -> int:
    time.sleep(blocks)
    return os.getpid()

again = pids

@m25.queue("ticks")
async def ticks(_: None) -> None: ...

def prepare(m: m25.M25) -> None:
    m.add_schedule("each second", ticks, every=1, input=None)

async def not_at_once(m: m25.M25) -> None: ...

@m25.queue("marks")
async def marks(_: None) -> str:
    return os.environ["MARK"]

@asynccontextmanager
async def model():
    await trio.sleep(6)
    yield "a large one"

@m25.queue("answers", lifespan=model)
async def answers(_: None, shared: str) -> str:
    return shared

@m25.queue("naps", max_concurrency=20)
async def naps(seconds: float) -> None:
    await trio.sleep(seconds)

@asynccontextmanager
async def mark(job):
    os.environ["MARK"] = f"around {job.queue_name}"
    yield

def opening():
    return {"around": [mark]}

def opening_elsewhere():
    return {"conn": "elsewhere"}
"""


@m25.queue("pids")
async def pids(blocks: float) -> int:
    raise NotImplementedError


answers = m25.declare("answers", input=None, output=str)
marks = m25.declare("marks", input=None, output=str)
naps = m25.declare("naps", input=float, output=None)


@pytest.fixture
def module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[str]:
    """The name of a module with queues, in the directory where the command is run."""
    name = f"jobs_of_{request.node.name.partition('[')[0][-30:]}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    path = sys.path.copy()
    yield name
    sys.path[:] = path


@asynccontextmanager
async def command(
    dsn: str, *arguments: str, stderr: int = subprocess.DEVNULL, started_by: Sequence[str] = ()
) -> AsyncGenerator[trio.Process]:
    """The command in a process of its own."""
    process = await trio.lowlevel.open_process(
        [*started_by, sys.executable, "-m", "m25", "worker", *arguments],
        stderr=stderr,
        env={**os.environ, "DATABASE_URL": dsn},
    )
    try:
        yield process
    finally:
        with trio.CancelScope(shield=True):
            if process.returncode is None:
                process.kill()
            await process.wait()


async def ends(process: trio.Process) -> int:
    with trio.fail_after(PATIENCE):
        return await process.wait()


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port: int = bound.getsockname()[1]
        return port


def is_there(pid: int) -> bool:
    """Whether a process runs; one that has ended and is not waited for does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def file_of(pid: int, number: int) -> str:
    """What a process has open by a number."""
    return str(Path(f"/proc/{pid}/fd/{number}").readlink())


async def test_it_says_what_it_runs_once_it_does_and_what_it_waits_for_when_it_stops(
    dsn: str, module: str
) -> None:
    arguments = [module, "--queue", "pids", "--queue", "naps", "--grace", "30"]
    async with command(dsn, *arguments, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        said = b""
        with trio.fail_after(PATIENCE):
            while b"INFO m25.worker: running pids, naps\n" not in said:
                said += await process.stderr.receive_some()
            process.send_signal(signal.SIGTERM)
            said = b"".join([chunk async for chunk in process.stderr])
        assert b"INFO m25.worker: stopping: running handlers have 30 s to finish\n" in said


@pytest.mark.slow
async def test_a_lifespan_may_take_a_while(dsn: str, module: str) -> None:
    async with command(dsn, module, "--queue", "answers"), m25.open(dsn) as m:
        with trio.fail_after(PATIENCE):
            assert await m.call(answers, None) == "a large one"


async def test_it_runs_the_queues_of_a_module_and_its_schedules_until_it_is_asked_to_stop(
    dsn: str, module: str
) -> None:
    async with command(dsn, f"{module}:prepare") as process, m25.open(dsn) as m:
        record = await m.enqueue(pids, 0)
        with trio.fail_after(PATIENCE):
            assert await m.result(pids, record.id) == process.pid

        async def has_ticked() -> bool:
            return bool(await rows(dsn, "select id from m25.job where queue_name = 'ticks'"))

        await eventually(has_ticked, PATIENCE)
        process.terminate()
        assert await ends(process) == 0


async def test_a_function_says_how_the_client_is_opened(dsn: str, module: str) -> None:
    async with command(dsn, module, "--open", f"{module}:opening"), m25.open(dsn) as m:
        with trio.fail_after(PATIENCE):
            assert await m.call(marks, None) == "around marks"


async def test_of_two_processes_each_is_started_again_and_none_outlives_the_supervisor(
    dsn: str, module: str, tmp_path: Path
) -> None:
    port = free_port()
    arguments = (module, "--queue", "pids", "--processes", "2", "--health", f"127.0.0.1:{port}")
    async with (
        command(dsn, *arguments) as process,
        m25.open(dsn) as m,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE) as http,
    ):

        async def is_ready() -> bool:
            try:
                return (await http.get("/readyz")).status_code == 200
            except httpx.TransportError:
                return False

        await eventually(is_ready, PATIENCE, every=0.1)
        assert (await http.get("/livez")).text == "ok\n"
        assert (await http.get("/")).status_code == 404
        with trio.fail_after(PATIENCE):
            first = await m.call(pids, 0)
        assert first != process.pid
        # The next one is not ready before we have seen that it is not.
        held = tmp_path / "held"
        held.touch()
        try:
            os.kill(first, signal.SIGKILL)

            async def is_not_ready() -> bool:
                return (await http.get("/readyz")).status_code == 503

            await eventually(is_not_ready, PATIENCE, every=0.1)
        finally:
            held.unlink()
        await eventually(is_ready, PATIENCE, every=0.1)
        answers = {await m.call(pids, 0) for _ in range(3)}
        assert first not in answers
        process.kill()
        await ends(process)
        for pid in answers:

            async def is_gone(pid: int = pid) -> bool:
                return not is_there(pid)

            await eventually(is_gone, PATIENCE)


@pytest.mark.slow
async def test_processes_begin_anew_when_their_program_changes_also_after_it_was_broken(
    dsn: str, module: str, tmp_path: Path
) -> None:
    program = tmp_path / f"{module}.py"
    async with command(dsn, module, "--reload", "--grace", "1") as process, m25.open(dsn) as m:
        with trio.fail_after(PATIENCE):
            pid = await m.call(pids, 0)
        assert is_there(pid)

        async def is_gone() -> bool:
            return not is_there(pid)

        program.write_text("1 / 0")
        await eventually(is_gone, PATIENCE)
        program.write_text(MODULE.replace("return os.getpid()", "return -1"))
        with trio.fail_after(PATIENCE):
            assert await m.call(pids, 0) == -1
        process.terminate()
        assert await ends(process) == 0


async def test_a_file_whose_name_is_no_text_does_not_end_the_watch(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    changes = 0

    def changed() -> None:
        nonlocal changes
        changes += 1

    no_text = tmp_path / os.fsdecode(b"\xff.py")

    async def is_told() -> bool:
        # A watch says nothing of when it begins.
        no_text.write_text("")
        return "cannot be watched" in caplog.text

    async def is_seen() -> bool:
        (tmp_path / "jobs.py").write_text("")
        return changes > 0

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch, tmp_path, changed)
        await eventually(is_told, PATIENCE, every=0.2)
        changes = 0
        await eventually(is_seen, PATIENCE, every=1)
        nursery.cancel_scope.cancel()


@pytest.mark.slow
async def test_all_processes_stop_with_their_supervisor_and_spend_no_attempt(
    dsn: str, module: str
) -> None:
    async with command(dsn, module, "--processes", "2", "--grace", "20") as process:
        async with m25.open(dsn) as m:
            with trio.fail_after(PATIENCE):
                await m.call(pids, 0)
            ids = [(await m.enqueue(pids, 0.05)).id for _ in range(20)]
            process.terminate()
            assert await ends(process) == 0
            records = [await m.current(pids, id) for id in ids]
        assert {record.attempt for record in records} == {1}
        statuses = {record.status.value for record in records}
        assert statuses <= {"succeeded", "pending"}


async def test_a_signal_that_comes_to_all_processes_at_once_ends_no_handler(
    dsn: str, module: str
) -> None:
    """As Ctrl-C in a terminal does, and systemd, unless it is told to tell the supervisor alone."""
    arguments = (module, "--queue", "naps", "--processes", "2", "--grace", "30")
    async with command(dsn, *arguments, stderr=subprocess.PIPE) as process, m25.open(dsn) as m:
        assert process.stderr is not None
        nap = await m.enqueue(naps, 3.0)

        async def has_begun() -> bool:
            return (await m.current(naps, nap.id)).status is m25.JobStatus.EXECUTING

        with trio.fail_after(PATIENCE):
            await eventually(has_begun, PATIENCE)
            process.terminate()
            said = b""
            stopping: set[int] = set()
            # Each has heard of the supervisor's end before it has the signal.
            while len(stopping) < 2:
                said += await process.stderr.receive_some()
                stopping = {
                    int(line.split()[2]) for line in said.splitlines() if b"handlers have" in line
                }
        for pid in stopping:
            os.kill(pid, signal.SIGTERM)
        assert await ends(process) == 0
        ended = await m.current(naps, nap.id)
        assert (ended.status, ended.id) == (m25.JobStatus.SUCCEEDED, nap.id)


async def test_a_worker_whose_streams_are_closed_stops_as_it_was_asked_to(
    dsn: str, module: str
) -> None:
    closed = ("sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh")
    async with command(dsn, module, "--queue", "pids", started_by=closed) as process:
        async with m25.open(dsn) as m:
            with trio.fail_after(PATIENCE):
                pid = await m.call(pids, 0)
        # What a library prints comes to no socket of m25's.
        assert {file_of(pid, number) for number in (0, 1, 2)} == {os.devnull}
        process.terminate()
        assert await ends(process) == 0


@pytest.mark.parametrize("options", [[], ["--processes", "2"]], ids=["one process", "two"])
def test_an_address_for_health_that_others_have_is_named(
    module: str, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        health = f"127.0.0.1:{taken.getsockname()[1]}"
        arguments = [module, *options, "--health", health, "--addr", "host=127.0.0.1 port=1"]
        assert main(["worker", *arguments]) == 1
    said = capsys.readouterr().err
    assert f"--health {health} cannot be had: " in said
    assert "Traceback" not in said


async def test_a_process_that_cannot_be_started_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    program, started = tmp_path / "program", tmp_path / "started"
    monkeypatch.setattr(sys, "executable", str(program))
    supervisor = Supervisor([], "", 2, 10)
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(supervisor.run, trio.CancelScope())

            async def is_told() -> bool:
                return caplog.text.count("cannot be started: ") >= 2

            await eventually(is_told, PATIENCE)
            assert supervisor.why_not_ready() == "not ready: process 1, 2"
            # What has ended its stdin ends this.
            text = f"#!/bin/sh\n: > {started}\nread _\n"
            (tmp_path / "new").write_text(text)
            (tmp_path / "new").chmod(0o700)
            (tmp_path / "new").rename(program)

            async def is_started() -> bool:
                return started.exists()

            await eventually(is_started, PATIENCE)
            supervisor.stop()


@pytest.mark.long
@pytest.mark.timeout(7_200)
@pytest.mark.parametrize("restarts", [10, 100])
async def test_rolling_restarts_under_load_spend_no_attempt_and_end_within_the_grace(
    dsn: str, module: str, restarts: int
) -> None:
    grace = 20.0
    arguments = (module, "--queue", "naps", "--processes", "2", "--grace", str(grace))
    took: list[float] = []

    async def produce(m: m25.M25) -> None:
        while True:
            await m.enqueue_many(naps, [0.01, 0.05, 0.2] * 10)
            await trio.sleep(0.2)

    async with m25.open(dsn) as m, AsyncExitStack() as processes, trio.open_nursery() as nursery:
        known: set[str] = set()

        async def newer_are_there() -> bool:
            newer = {worker.id for worker in await m.workers()} - known
            if len(newer) < 2:
                return False
            known.update(newer)
            return True

        process = await processes.enter_async_context(command(dsn, *arguments))
        await eventually(newer_are_there, 4 * PATIENCE)
        nursery.start_soon(produce, m)
        for _ in range(restarts):
            newer = await processes.enter_async_context(command(dsn, *arguments))
            await eventually(newer_are_there, 4 * PATIENCE)
            asked = trio.current_time()
            process.terminate()
            assert await ends(process) == 0
            took.append(trio.current_time() - asked)
            process = newer
        nursery.cancel_scope.cancel()
    async with m25.open(dsn) as m, command(dsn, *arguments):

        async def is_done() -> bool:
            return (await m.counts(queue=naps, status=["pending", "executing"])).total == 0

        await eventually(is_done, PATIENCE)
    (told,) = await rows(
        dsn,
        "select count(*) as jobs, max(attempt) as attempts, max(losses) as losses,"
        " count(*) filter (where status <> 'succeeded') as others from m25.job",
    )
    longest = max(took)
    print(f"{restarts} restarts, {told}, at most {longest:.1f} s from SIGTERM to the end")
    assert (told["attempts"], told["losses"], told["others"]) == (1, 0, 0)
    assert longest < grace


def test_a_database_that_is_not_there_is_named_without_its_password(
    module: str, capsys: pytest.CaptureFixture[str]
) -> None:
    address = "postgresql://ada:sesame@127.0.0.1:1/shop"
    assert main(["worker", module, "--addr", address]) == 1
    said = capsys.readouterr().err
    assert "ada@127.0.0.1:1/shop" in said
    assert "sesame" not in said


def test_each_process_of_a_supervisor_has_the_limit_that_is_given() -> None:
    parser = argparse.ArgumentParser()
    worker.configure(parser)
    options = parser.parse_args(["shop.jobs", "--processes", "2", "--max-concurrency", "7"])
    arguments = worker._arguments_of_one(options)
    assert arguments[arguments.index("--max-concurrency") + 1] == "7"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["no_such_module"], "there is no module 'no_such_module'"),
        (["os.no_such_module"], "there is no module 'os.no_such_module'"),
        (["json"], "there is no queue in it"),
        (["MODULE", "--queue", "mails"], "no queue is named 'mails'"),
        (["MODULE:nothing"], "must be a function that takes the client"),
        (["MODULE:not_at_once"], "must be a function that takes the client"),
        (["broken_module"], "ZeroDivisionError"),
        (["MODULE", "twin_module"], "another queue is named 'pids'"),
        (["MODULE", "--processes", "0"], "must be from 1 to 1000"),
        (["MODULE", "--max-concurrency", "none"], "must be from 1 to 100000"),
        (["MODULE", "--health", "here"], "must be HOST:PORT"),
        (["MODULE", "--grace", "soon"], "must be a number of seconds"),
        (["MODULE", "--open", "MODULE"], "there is no such one"),
        (["MODULE", "--open", "MODULE:prepare"], "missing 1 required positional argument"),
        (["MODULE", "--open", "MODULE:opening_elsewhere"], "must return arguments of m25.open"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_wrong_is_said_before_anything_runs(
    module: str,
    arguments: list[str],
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "broken_module.py").write_text("1 / 0")
    (tmp_path / "twin_module.py").write_text(MODULE)
    given = [each.replace("MODULE", module) for each in arguments]
    try:
        code = main(["worker", *given, "--addr", "host=127.0.0.1 port=1"])
    except SystemExit as end:
        code = int(str(end.code))
    assert code == 2
    assert said in capsys.readouterr().err


async def test_systemd_is_told_when_it_is_ready_and_when_it_stops(
    dsn: str, module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_DGRAM) as systemd:
        await systemd.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "60000000")
        async with command(dsn, module) as process:
            heard: set[bytes] = set()
            with trio.fail_after(PATIENCE):
                while b"READY=1" not in heard:
                    heard.add(await systemd.recv(100))
                process.terminate()
                while b"STOPPING=1" not in heard:
                    heard.add(await systemd.recv(100))
            assert await ends(process) == 0
        assert b"WATCHDOG=1" in heard


async def test_a_process_that_waits_to_be_started_again_does_not_stand_still(
    autojump_clock: trio.testing.MockClock,
) -> None:
    supervisor = Supervisor([], "", 2, 10)
    for member in supervisor.members:
        member.heard(is_ready=True)
    await trio.sleep(5)
    assert (supervisor.why_not_live(), supervisor.why_not_ready()) == (None, None)
    supervisor.members[0].ended()
    await trio.sleep(5)
    supervisor.members[1].heard(is_ready=True)
    await trio.sleep(6)
    assert supervisor.why_not_live() is None
    assert supervisor.why_not_ready() == "not ready: process 1"
    supervisor.members[0].heard(is_ready=True)
    await trio.sleep(6)
    assert supervisor.why_not_live() == "nothing was heard of process 2 for 10 s"
