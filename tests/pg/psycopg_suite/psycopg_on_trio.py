"""A pytest plugin that runs psycopg's own async tests on `m25.pg`, under Trio.

It is given to pytest in psycopg's checkout, whose tests are not changed: classes of `m25.pg` take
the place of psycopg's async ones, anyio's runner is told to use Trio, and the few names of asyncio
that tests use to have a second task are `asyncio_on_trio`'s. Tests that are not coroutines are left
out.
"""

from __future__ import annotations

import asyncio
import inspect
import math
import sys
from collections.abc import Mapping
from typing import Any, ClassVar

import asyncio_on_trio
import psycopg
import pytest
import trio
from explained import explanation
from psycopg import waiting

from m25 import pg
from m25.pg import _hosts, _pipeline, _wait


class AsyncConnection(pg.AsyncConnection[psycopg.rows.Row]):
    """Without what it adds to the address: some tests look whether it is what they gave."""

    liveness: ClassVar[Mapping[str, str]] = {}
    server_liveness: ClassVar[Mapping[str, str]] = {}


REPLACEMENTS = (
    AsyncConnection,
    pg.AsyncCursor,
    pg.AsyncClientCursor,
    pg.AsyncRawCursor,
    pg.AsyncServerCursor,
    pg.AsyncRawServerCursor,
    _pipeline.AsyncPipeline,
)


def pytest_configure(config: pytest.Config) -> None:
    for replacement in REPLACEMENTS:
        # It takes psycopg's place in every way, also in what it says of itself.
        replacement.__module__ = "psycopg"
        setattr(psycopg, replacement.__name__, replacement)
    for name in ("Event", "create_task", "gather", "sleep", "wait_for"):
        setattr(asyncio, name, getattr(asyncio_on_trio, name))
    # Tests leave generators to the garbage collector, of which Trio warns.
    config.addinivalue_line("filterwarnings", "ignore:Async generator:ResourceWarning")
    waiting.wait_async = wait_async
    waiting.wait_conn_async = wait_conn_async
    for module in ("psycopg._conninfo_attempts_async", "psycopg.conninfo"):
        sys.modules[module].conninfo_attempts_async = _hosts.attempts


async def wait_async(
    steps: Any, fileno: int, interval: float = 0.0, timeout: float | None = None
) -> Any:
    """psycopg's function of that name, by our way of waiting: it gives up after each interval."""

    def naming() -> Any:
        ready = None
        while True:
            try:
                wanted = steps.send(ready)
            except StopIteration as done:
                return done.value
            ready = yield fileno, wanted

    return await wait_conn_async(naming(), interval, timeout)


async def wait_conn_async(steps: Any, interval: float = 0.0, timeout: float | None = None) -> Any:
    if interval is None:
        raise ValueError("psycopg refuses to wait without an interval")
    with trio.move_on_after(math.inf if timeout is None else timeout):
        try:
            fileno, wanted = next(steps)
            while True:
                if not (ready := _wait.make_look(fileno)(wanted)):
                    with trio.move_on_after(interval):
                        ready = await _wait.until_ready(fileno, wanted)
                fileno, wanted = steps.send(ready)
        except StopIteration as done:
            return done.value
    raise psycopg.errors._WaitTimeout("wait timeout expired")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    ours, others = [], []
    for item in items:
        is_async = inspect.iscoroutinefunction(getattr(item, "function", None))
        (ours if is_async else others).append(item)
    config.hook.pytest_deselected(items=others)
    items[:] = ours


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup(fixturedef: Any, request: Any) -> Any:
    if fixturedef.argname != "anyio_backend":
        return None
    result = ("trio", {})
    fixturedef.cached_result = (result, fixturedef.cache_key(request), None)
    return result


def pytest_terminal_summary(terminalreporter: Any) -> None:
    failed = _failed(terminalreporter)
    terminalreporter.section("psycopg's tests on m25.pg")
    for report in failed:
        reason = explanation(report.nodeid) or "UNEXPLAINED"
        terminalreporter.line(f"{report.nodeid}: {reason}")
    passed = len(terminalreporter.stats.get("passed", ()))
    terminalreporter.line(f"{passed} passed, {len(failed)} failed")


def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter: Any = session.config.pluginmanager.get_plugin("terminalreporter")
    if session.exitstatus == pytest.ExitCode.TESTS_FAILED and all(
        explanation(report.nodeid) for report in _failed(reporter)
    ):
        session.exitstatus = pytest.ExitCode.OK


def _failed(reporter: Any) -> list[Any]:
    return [*reporter.stats.get("failed", ()), *reporter.stats.get("error", ())]
