"""graphile-worker, on Node, with its local queue and its batches on: finished jobs are deleted.

In that mode a completion that meets a transient error is lost, as its documents say.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import psycopg

if shutil.which("node") is None or shutil.which("npm") is None:
    raise ModuleNotFoundError("there are no node and npm, which it runs on")

NAME = "graphile-worker"
_SOURCE = Path(__file__).with_name("graphile")
VERSION: str = json.loads((_SOURCE / "package.json").read_text())["dependencies"]["graphile-worker"]
KEEPS = "nothing; the row is deleted"
RESET = "truncate graphile_worker._private_jobs restart identity"
#: Every job has had a number.
FINISHED = """
select last_value - (select count(*) from graphile_worker._private_jobs)
from graphile_worker.jobs_id_seq1
"""
VACUUM = "vacuum analyze graphile_worker._private_jobs"

#: Where npm puts it.
_INSTALLED = Path(__file__).parents[2] / "build" / "peers" / f"graphile-worker-{VERSION}"

_ADD = """
select count(*) from graphile_worker.add_jobs(array(
    select row('bench', json_build_object('to', 'ada@home', 'number', number::float8),
        null, null, null, null, null, null)::graphile_worker.job_spec
    from generate_series(1, %s) as number
))
"""
_ADD_ONE = """
select id from graphile_worker.add_job('bench', json_build_object('to', 'ada@home', 'number', %s))
"""

T = TypeVar("T")


def run(function: Callable[..., T], *arguments: Any) -> T:
    return function(*arguments)


def _command(command: str, *arguments: object) -> list[str]:
    return ["node", str(_INSTALLED / "worker.mjs"), command, *map(str, arguments)]


def install(dsn: str) -> None:
    _INSTALLED.mkdir(parents=True, exist_ok=True)
    for source in _SOURCE.iterdir():
        shutil.copy(source, _INSTALLED)
    if not (_INSTALLED / "node_modules").exists():
        quiet = ("--no-audit", "--no-fund", "--loglevel=error")
        subprocess.run(["npm", "install", *quiet], cwd=_INSTALLED, check=True)
    subprocess.run(_command("install", dsn), check=True)


def fill(dsn: str, jobs: int) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(_ADD, [jobs])


def work(
    dsn: str, concurrency: int, received: Callable[[float], None], done: Callable[[], bool]
) -> float:
    began = time.perf_counter()
    with subprocess.Popen(
        _command("work", dsn, concurrency),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    ) as worker:
        assert worker.stdin is not None
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
        # The others' programs have been read when their time begins.
        reading = time.perf_counter() - began
        worker.stdin.write("go\n")
        while not done():
            for waited in json.loads(worker.stdout.readline()):
                received(time.monotonic() - waited)
        worker.stdin.close()
        worker.wait()
    return reading


def put(dsn: str, jobs: int, pause: Callable[[int], float]) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        for number in range(jobs):
            time.sleep(pause(number))
            connection.execute(_ADD_ONE, [time.monotonic()])
