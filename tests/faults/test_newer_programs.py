"""Producers are deployed before workers, or beside them: real processes of two versions."""

from __future__ import annotations

import os
from collections import Counter

import attrs
import pytest
import trio

import m25
from support.processes import Worker, worker
from support.waiting import rows


@attrs.frozen
class Old:
    number: int


@attrs.frozen
class New:
    number: int
    note: str = ""


OLD = m25.declare("notes", input=Old, output=str)
NEW = m25.declare("notes", input=New, output=str)


def version(name: str) -> dict[str, str]:
    return {**os.environ, "VERSION": name}


def ran(process: Worker) -> Counter[str]:
    return Counter(line for line in process.printed if line.startswith("ran "))


def said(process: Worker) -> list[str]:
    """What else it has printed, but that it stood still: a busy machine does that."""
    return [
        line
        for line in process.printed
        if not line.startswith("ran ") and "event loop stood still" not in line
    ]


@pytest.mark.slow
async def test_in_a_rolling_deploy_every_job_is_run_once_by_a_worker_that_knows_it(
    dsn: str,
) -> None:
    numbers = range(40)
    began = trio.current_time()
    async with (
        m25.open(dsn) as m,
        worker(dsn, program="versions.py", environment=version("old"), patience=60) as old,
    ):
        newer = [await m.enqueue(NEW, New(number, "new")) for number in numbers]
        known = [await m.enqueue(OLD, Old(number)) for number in numbers]
        with trio.fail_after(60):
            assert {await m.result(OLD, each.id) for each in known} == {"old"}
        await old.until_printed("WARNING")
        async with worker(
            dsn, program="versions.py", environment=version("new"), patience=60
        ) as new:
            # Both run for a while.
            await new.until_printed("ran ", patience=60)
            old.process.terminate()
            await old.process.wait()
            with trio.fail_after(60):
                assert {await m.result(NEW, each.id) for each in newer} == {"new"}
    took = trio.current_time() - began
    assert ran(old) == Counter(f"ran {Old(number)}" for number in numbers)
    assert ran(new) == Counter(f"ran {New(number, 'new')}" for number in numbers)
    told = said(old)
    assert told[0] == "ready"
    del told[0]
    assert all("is left to newer workers" in line for line in told)
    assert 1 <= len(told) <= 1 + took / 60
    assert said(new) == ["ready"]
    found = await rows(dsn, "select distinct status, attempt from m25.job")
    assert found == [{"status": "succeeded", "attempt": 1}]
