"""Jobs of which a queue has one of a key at a time: what callers see of them."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import trio
import trio.testing

import m25
import m25.testing
from m25 import pg
from support.processes import worker
from support.waiting import eventually, rows

HOLDINGS: list[dict[str, Any]] = [
    {"while_": "pending"},
    {"while_": "live"},
    {"while_": "ever"},
    {"within": timedelta(hours=1)},
]
MODES = [
    m25.Unique(f"{then} {number}", then=then, **holding)
    for then in ("refuse", "return", "replace", "debounce")
    for number, holding in enumerate(HOLDINGS)
] + [m25.Unique("rerun_after", then="rerun_after")]


@m25.queue("work")
async def work(given: dict[str, int]) -> int:
    return given["number"]


def order(unique: m25.Unique, number: int = 0) -> m25.Job[dict[str, int]]:
    at = datetime.now(UTC) if unique.then == "debounce" else None
    return m25.Job({"number": number}, unique=unique, scheduled_at=at)


async def test_twelve_tasks_put_a_job_and_at_most_one_is_new_whatever_its_mode(dsn: str) -> None:
    refused = Counter[str]()

    async def put(m: m25.M25, unique: m25.Unique, number: int) -> None:
        try:
            await m.enqueue(work, order(unique, number))
        except m25.errors.UniqueJobConflict as conflict:
            refused[conflict.unique_key] += 1

    async def put_all() -> dict[str, int]:
        """Put each from twelve tasks in two processes; return how many of each key are pending."""
        async with m25.open(dsn) as one, m25.open(dsn) as other, trio.open_nursery() as nursery:
            for unique in MODES:
                for number in range(12):
                    nursery.start_soon(put, one if number % 2 else other, unique, number)
        found = await rows(
            dsn,
            "select key, count(*) as n from m25.job join m25.held_key on job_id = job.id"
            " where status = 'pending' group by key",
        )
        ((total,),) = [
            tuple(row.values())
            for row in await rows(dsn, "select count(*) from m25.job where status = 'pending'")
        ]
        # So none is pending that has not its key.
        assert total == len(found)
        return {row["key"]: row["n"] for row in found}

    assert await put_all() == {unique.key: 1 for unique in MODES}
    assert refused == {unique.key: 11 for unique in MODES if unique.then == "refuse"}
    # All are running now, as after one claim.
    async with await pg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute(
            "update m25.job set reserved_at = now(), started_at = now(), has_begun = true"
        )
    assert await put_all() == {
        unique.key: 1
        for unique in MODES
        if unique.holding == "pending" or unique.then == "rerun_after"
    }


async def test_a_caller_is_told_what_has_become_of_the_call() -> None:
    async with m25.testing.open() as m:
        unique = m25.Unique("k", then="return")
        first = await m.enqueue(work, order(unique, 1))
        assert first.unique_outcome == "new"
        second = await m.enqueue(work, order(unique, 2))
        assert (second.unique_outcome, second) == ("returned", first)
        third = await m.enqueue(work, order(m25.Unique("k", then="replace"), 3))
        assert (third.unique_outcome, third.id) == ("replaced", first.id)
        assert third.input == {"number": 3}
        fourth = await m.enqueue(work, order(m25.Unique("k", then="debounce"), 4))
        assert (fourth.unique_outcome, fourth.id) == ("debounced", first.id)
        with pytest.raises(m25.UniqueKeyConflict, match="'k' of queue 'work' is held") as caught:
            await m.enqueue(work, order(m25.Unique("k")))
        assert isinstance(caught.value, m25.errors.UniqueJobConflict)
        assert (caught.value.job_id, caught.value.status) == (first.id, "pending")
        # Nothing of this is about the job itself.
        assert (await m.get_job(work, first.id)).unique_outcome is None


async def test_many_jobs_are_put_and_each_is_told_of() -> None:
    async with m25.testing.open() as m:
        unique = m25.Unique("k", then="replace")
        jobs = [order(unique, 1), {"number": 2}, order(unique, 3), order(m25.Unique("k"))]
        many = await m.enqueue_many(work, jobs, skip_conflicts=True)
        assert many.unique_outcomes == {0: "new", 2: "replaced"}
        assert list(many.conflicts) == [3]
        assert many.ids[0] == many.ids[2] == many.ids[3]
        assert (await m.get_job(work, many.ids[0])).input == {"number": 3}


async def test_a_call_of_a_job_that_is_there_has_its_result() -> None:
    async with m25.testing.open() as m:
        await m.enqueue(work, order(m25.Unique("k"), 1))
        m.add_queue(work)
        outputs: list[int] = []

        async def call() -> None:
            outputs.append(await m.call(work, order(m25.Unique("k", then="return"), 2)))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(call)
            # It has to come before the job ends, or it would put a new one.
            await trio.testing.wait_all_tasks_blocked()
            await m.start()
        assert outputs == [1]


async def test_it_is_part_of_a_transaction_of_the_callers(dsn: str) -> None:
    unique = m25.Unique("k", then="return")
    async with m25.open(dsn) as m, await pg.AsyncConnection.connect(dsn) as connection:
        lost = await m.enqueue(work, order(unique), connection=connection)
        await connection.rollback()
        kept = await m.enqueue(work, order(unique), connection=connection)
        # A refusal leaves the transaction as it was.
        with pytest.raises(m25.UniqueKeyConflict):
            await m.enqueue(work, order(m25.Unique("k")), connection=connection)
        await connection.commit()
        assert kept.id != lost.id
        assert (await m.enqueue(work, order(unique))).id == kept.id


def test_what_cannot_be_meant_is_refused_where_it_is_written() -> None:
    with pytest.raises(m25.errors.InvalidJob, match="while_, or within"):
        m25.Unique("k", "live", within=3)
    with pytest.raises(m25.errors.InvalidJob, match=r'goes with while_="live" alone'):
        m25.Unique("k", "pending", then="rerun_after")
    with pytest.raises(m25.errors.InvalidJob, match="while_ must be one of 'pending'"):
        m25.Unique("k", "running")  # type: ignore[arg-type]
    with pytest.raises(m25.errors.InvalidJob, match="1000 bytes long"):
        m25.Unique("k" * 1001)
    with pytest.raises(m25.errors.InvalidJob, match="not both"):
        m25.Job(1, unique=m25.Unique("k"), unique_key="k")
    with pytest.raises(m25.errors.InvalidJob, match="give the job a scheduled_at"):
        m25.Job(1, unique=m25.Unique("k", then="debounce"))
    with pytest.raises(m25.errors.InvalidJob, match=r"must be a m25\.Unique"):
        m25.Job(1).with_unique("k")  # type: ignore[arg-type]


async def test_a_job_of_a_nursery_has_none() -> None:
    async with m25.testing.open() as m:
        with pytest.raises(ExceptionGroup) as caught:
            async with m.open_nursery() as nursery:
                await nursery.start_job(work, order(m25.Unique("k")))
        assert caught.group_contains(m25.errors.InvalidJob, match="cannot have a Unique")


@pytest.mark.parametrize(
    ("puts", "kills"),
    [
        pytest.param(90, 1, marks=pytest.mark.slow),
        pytest.param(3_000, 8, marks=pytest.mark.long),
    ],
)
async def test_every_put_has_a_start_that_comes_after_it_whoever_is_killed(
    dsn: str, puts: int, kills: int
) -> None:
    keys = ("a", "b", "c")
    async with await pg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        at = "attempt uuid, at timestamptz default clock_timestamp()"
        await connection.execute(f"create table started ({at}, key text, number integer)")
        await connection.execute(f"create table ended ({at})")

    following = "select id from m25.job where follows is not null limit 1"

    async def put(m: m25.M25, key: str, done: dict[str, int]) -> None:
        unique = m25.Unique(key, then="rerun_after")
        # Greater and greater numbers: a start with one came after all puts up to that.
        for number in itertools.count(1):
            await m.enqueue(work, m25.Job({key: number}, unique=unique))
            await trio.sleep(random.choice((0, 0, 0.01)))
            # Where the workers stand still meanwhile, none was put while another one ran.
            if number >= puts // len(keys) and await rows(dsn, following):
                done[key] = number
                return

    async def is_done() -> bool:
        live = "select id from m25.job where finished_at is null limit 1"
        return len(done) == len(keys) and not await rows(dsn, live)

    done: dict[str, int] = {}
    async with (
        worker(dsn, program="unique.py"),
        m25.open(dsn) as m,
        trio.open_nursery() as nursery,
    ):
        for key in keys:
            nursery.start_soon(put, m, key, done)
        for _ in range(kills):
            async with worker(dsn, program="unique.py") as killed:
                await trio.sleep(0.2)
                killed.process.kill()
        await eventually(is_done)
    last = await rows(
        dsn, "select key, max(number) as number from started group by key order by key"
    )
    assert [(row["key"], row["number"]) for row in last] == [(key, done[key]) for key in keys]
    # By what the handlers wrote, each by the server's clock. `finished_at` and `started_at` are the
    # times at which statements began: a claim that saw the end of a job may have begun before the
    # statement that wrote this end. Who was killed or fenced is no matter: it wrote no outcome.
    beside = await rows(
        dsn,
        """
        select job.id
        from m25.job
        join started on started.attempt = job.id
        join m25.job as followed
            on job.follows = coalesce(followed.original_attempt_id, followed.id)
        join ended on ended.attempt = followed.id
        where followed.failure_reason is distinct from 'heartbeat_timeout'
            and ended.at > started.at
        """,
    )
    assert beside == []
