"""What looks after the jobs, with 500,000 of them in the table: how long each call and page takes.

Twenty queues; of a hundred jobs four have failed, one was cancelled, four are due, one is for
later, and the others have succeeded, over the last ten days. A call is what a command asks for
(`m25 jobs` is `m.jobs()`), a page is one of `m25 web`. All take turns. A filter on the input
stops by itself after its own time, and has no goal.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import psycopg
import trio

import m25
from m25 import pg, web
from m25._doctor.examination import examine

from . import databases, report

#: In milliseconds, at the 95th percentile.
_GOAL = 300.0

_INSERT = """
insert into m25.job (
    id, queue_name, input, timeout, attempt, max_attempts, created_at, scheduled_at,
    reserved_at, started_at, finished_at, cancelled_at, output,
    failure_reason, crash_type, crash_message
)
select
    (
        lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0') || left(md5(n::text), 20)
    )::uuid,
    'queue ' || n %% 20,
    jsonb_build_object('to', 'ada@home', 'customer', n %% 1000),
    '5 minutes', 1, 1, at,
    case when kind = 9 then now() + interval '1 day' end,
    begun, begun, begun + interval '20 ms',
    case when kind = 4 then at end,
    case when kind > 9 then '"sent"'::jsonb end,
    case when kind < 4 then 'crash' end,
    case when kind < 4 then 'ValueError' end,
    case when kind < 4 then 'no mailbox' end
from (
    select
        n, kind, at, case when kind < 4 or kind > 9 then at + interval '1 s' end as begun
    from generate_series(1, %(jobs)s) as n,
        -- Not in step with the queues.
        lateral (select (n * 37 + n / 100) %% 100 as kind) as kinds,
        lateral (select now() - interval '10 days' * (1 - n::float / %(jobs)s) as at) as times
) as jobs
"""

Call = Callable[[], Awaitable[Any]]


def fill(dsn: str, jobs: int) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("truncate m25.job cascade")
        connection.execute(_INSERT, {"jobs": jobs})
        connection.execute("vacuum analyze m25.job")
        connection.execute("checkpoint")


async def calls_of(m: m25.M25) -> dict[str, Call]:
    """Each call, by the command that makes it."""
    (failed,) = (await m.jobs(status="failed", limit=1)).jobs
    succeeded = (await m.jobs(status="succeeded", limit=1)).jobs[0]
    hour = timedelta(hours=1)
    return {
        "m25 queues": m.queues,
        "m25 top: rates": m.rates,
        "m25 top: workers": m.workers,
        "m25 schedules": m.schedules,
        "m25 limits": m.limits,
        "m25 jobs": m.jobs,
        "m25 jobs --status failed": lambda: m.jobs(status="failed"),
        "m25 jobs --queue": lambda: m.jobs(queue="queue 7"),
        "m25 jobs --queue --status succeeded": lambda: m.jobs(queue="queue 7", status="succeeded"),
        "m25 jobs --since 1h": lambda: m.jobs(since=hour),
        "m25 show, succeeded": lambda: m.job_details(succeeded.id),
        "m25 show, failed": lambda: m.job_details(failed.id),
        "m25 delete --dry-run --status failed": lambda: m.counts(status="failed"),
        "m25 delete --dry-run --status succeeded": lambda: m.counts(status="succeeded"),
    }


async def without_a_goal(m: m25.M25) -> dict[str, Call]:
    return {
        "m25 jobs --where input.customer=7": lambda: m.jobs(where={"customer": 7}),
        "m25 jobs --where, of nobody": lambda: m.jobs(where={"customer": -1}),
    }


async def pages_of(m: m25.M25) -> dict[str, Call]:
    """Each page, by its address."""
    (failed,) = (await m.jobs(status="failed", limit=1)).jobs
    addresses = {
        "/": "/",
        "/queue": "/queue?name=queue+7",
        "/jobs": "/jobs",
        "/jobs?status=failed": "/jobs?status=failed",
        "/jobs/ID": f"/jobs/{failed.id}",
        "/workers": "/workers",
        "/schedules": "/schedules",
        "/limits": "/limits",
    }

    dashboard = web.app(m)

    def visit(address: str) -> Call:
        return lambda: get(dashboard, address)

    return {f"page {name}": visit(address) for name, address in addresses.items()}


async def get(app: web.Dashboard, address: str) -> None:
    """A request of a browser's, without a browser."""
    parts = urlsplit(address)
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": parts.path,
        "raw_path": parts.path.encode(),
        "query_string": parts.query.encode(),
        "root_path": "",
        "headers": [(b"host", b"dashboard")],
        "server": ("dashboard", 80),
    }

    async def receive() -> dict[str, Any]:
        await trio.lowlevel.checkpoint()
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Mapping[str, Any]) -> None:
        await trio.lowlevel.checkpoint()
        assert message.get("status", 200) == 200, message

    await app(scope, receive, send)


async def time_all(calls: Mapping[str, Call], runs: int) -> dict[str, list[float]]:
    """How long each took, in milliseconds: in turns, after one that does not count."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(runs + 1):
        for name, call in calls.items():
            began = time.perf_counter()
            await call()
            if number:
                taken[name].append((time.perf_counter() - began) * 1e3)
    return taken


async def measure(dsn: str, runs: int) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    async with (
        m25.open(dsn) as m,
        await pg.AsyncConnection.connect(
            dsn, autocommit=True, client_encoding="UTF8"
        ) as connection,
    ):
        calls = {
            **await calls_of(m),
            "m25 doctor": lambda: examine(connection),
            **await pages_of(m),
        }
        return await time_all(calls, runs), await time_all(await without_a_goal(m), runs // 4)


def p95(taken: list[float]) -> float:
    return statistics.quantiles(taken, n=20, method="inclusive")[-1]


def main(*, quick: bool = False) -> list[report.Verdict]:
    jobs, runs = (100_000, 8) if quick else (500_000, 60)
    with databases.server() as dsn:
        fill(dsn, jobs)
        taken, others = trio.run(measure, dsn, runs)
        verdicts = [
            report.at_most("operate", f"{name}, p95 in ms", p95(times), _GOAL)
            for name, times in taken.items()
        ]
        report.show(
            f"with {jobs:,} jobs in the table, in ms ({runs} times each)",
            [
                ("", "median", "p95", "goal"),
                *(
                    (name, f"{statistics.median(times):.1f}", f"{p95(times):.1f}", goal)
                    for found, goal in ((taken, f"≤ {_GOAL:.0f}"), (others, ""))
                    for name, times in found.items()
                ),
            ],
        )
        figures = {
            name: {"median": statistics.median(times), "p95": p95(times)}
            for name, times in {**taken, **others}.items()
        }
        report.write("operate", dsn, figures, verdicts)
    return verdicts
