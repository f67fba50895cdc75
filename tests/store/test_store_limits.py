"""No more jobs run at once than a limit allows, on both stores."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
import trio
from _world import LEASE, PostgresWorld, WithVerbs, failure, job, success, token

from m25._store.operator import JobFilter
from m25._store.protocol import (
    Change,
    Claimed,
    ClaimedJob,
    DeclaredQueue,
    LimitedClaim,
    NewJob,
    Release,
    SetAside,
    Worker,
)

TIMEOUT = timedelta(minutes=5)
MINUTES = timedelta(minutes=2)


async def declare(
    world: WithVerbs, *names: str, size: int = 2, limiter: str = "l", path: list[str] | None = None
) -> None:
    queues = [DeclaredQueue(name, TIMEOUT, 1, None, limiter, size, path) for name in names]
    await world.store.announce(Worker(str(uuid4()), "1", queues))


async def claimed(
    world: WithVerbs, queue: str = "q", *, limit: int = 10, from_key: str | None = None
) -> tuple[list[ClaimedJob], Claimed]:
    mine = token()
    answer = await world.store.claim_limited(
        LimitedClaim(queue, limiter="l", token=mine, limit=limit, lease=LEASE, start=True),
        from_key=from_key,
    )
    return [ClaimedJob(row.id, mine) for row in answer.rows], answer


def of(customer: object, **options: object) -> NewJob:
    return job(input=json.dumps({"customer": {"id": customer}}), **options)  # type: ignore[arg-type]


async def customers(world: WithVerbs, *, limit: int = 10, from_key: str = "") -> list[str]:
    _, answer = await claimed(world, limit=limit, from_key=from_key)
    return [json.loads(row.input)["customer"]["id"] for row in answer.rows]


async def test_no_more_run_than_the_limit_and_who_ends_makes_room(world: WithVerbs) -> None:
    await declare(world, "q")
    ids = await world.put(*(job() for _ in range(6)))
    (first, second), answer = await claimed(world)
    assert [first.id, second.id] == ids[:2]
    assert answer.is_full
    none, answer = await claimed(world)
    assert (none, answer.is_full) == ([], True)
    await world.settle(success(first))
    (third,), _ = await claimed(world)
    await world.release(second)
    # It has its place among the others again.
    (again,), _ = await claimed(world)
    assert again.id == second.id
    await world.settle(failure(again))
    await world.store.request_cancel(third.id, "q")
    await world.release(third)
    assert [claim.id for claim in (await claimed(world))[0]] == ids[3:5]
    await world.pass_time(120)
    assert len(await world.sweep()) == 2
    found, answer = await claimed(world)
    # The next attempts of those that were lost come after it.
    assert len(found) == 2
    assert answer.is_full


async def test_a_claim_that_leaves_room_says_so_and_a_paused_queue_gives_nothing(
    world: WithVerbs,
) -> None:
    await declare(world, "q")
    await world.put(job())
    await world.store.pause("q", None, TIMEOUT)
    assert (await claimed(world))[0] == []
    assert (await claimed(world, from_key=""))[0] == []
    await world.store.resume("q")
    (_,), answer = await claimed(world)
    assert not answer.is_full


async def test_queues_that_share_a_limit_are_counted_together_and_others_apart(
    world: WithVerbs,
) -> None:
    await declare(world, "q", "r")
    await declare(world, "other", limiter="another")
    for name in ("q", "r", "other"):
        await world.put(*(job(name) for _ in range(3)))
    assert len(await world.claim("other")) == 3
    (running,), _ = await claimed(world, "r", limit=1)
    assert len((await claimed(world, "q"))[0]) == 1
    assert (await claimed(world, "r"))[0] == []
    await world.settle(success(running))
    assert len((await claimed(world, "q"))[0]) == 1


async def test_a_limit_that_was_set_goes_before_the_declared_one(world: WithVerbs) -> None:
    await declare(world, "q")
    await world.put(*(job() for _ in range(5)))
    assert await world.store.set_limit("l", 1)
    assert not await world.store.set_limit("unheard of", 1)
    (first,), _ = await claimed(world)
    await declare(world, "q", size=3)
    assert (await world.store.operator.queues(99, MINUTES))[0].limit == 1
    assert (await claimed(world))[0] == []
    assert await world.store.set_limit("l", None)
    assert (await world.store.operator.queues(99, MINUTES))[0].limit == 3
    assert len((await claimed(world))[0]) == 2
    # Fewer may run now than do.
    await world.store.set_limit("l", 2)
    await world.settle(success(first))
    assert (await claimed(world))[0] == []


async def test_without_its_row_a_limit_lets_nothing_run(world: WithVerbs) -> None:
    await world.put(job())
    assert (await claimed(world))[0] == []
    assert (await claimed(world, from_key=""))[0] == []


# Rates


async def rated(
    world: WithVerbs,
    *,
    size: int | None = None,
    path: list[str] | None = None,
    every: timedelta = timedelta(seconds=10),
) -> None:
    queue = DeclaredQueue("q", TIMEOUT, 1, None, "l", size, path, every, 2)
    await world.store.announce(Worker(str(uuid4()), "1", [queue]))


async def test_by_a_rate_one_job_begins_in_each_interval_and_the_burst_beyond_that(
    world: WithVerbs,
) -> None:
    await rated(world)
    await world.put(*(job() for _ in range(20)))
    found, answer = await claimed(world)
    assert len(found) == 3
    assert answer.is_full
    assert answer.room_in == pytest.approx(10, abs=2)
    await world.settle(success(found[0]))
    assert (await claimed(world))[0] == []
    await world.pass_time(12)
    assert len((await claimed(world))[0]) == 1
    # What was late is made up for, and no more than the burst.
    await world.pass_time(9)
    (_,), answer = await claimed(world)
    assert answer.room_in == pytest.approx(9, abs=2)
    await world.pass_time(3_600)
    (_,), answer = await claimed(world, limit=1)
    assert not answer.is_full
    assert answer.room_in is None
    assert len((await claimed(world))[0]) == 2
    assert (await claimed(world))[0] == []


async def test_a_claim_that_finds_no_job_spends_nothing_of_a_rate(world: WithVerbs) -> None:
    await rated(world)
    for _ in range(5):
        none, answer = await claimed(world)
        assert (none, answer.is_full, answer.room_in) == ([], False, None)
    await world.put(*(job() for _ in range(4)))
    assert len((await claimed(world))[0]) == 3


async def test_what_is_left_to_newer_workers_gives_its_token_back(world: WithVerbs) -> None:
    await rated(world, every=timedelta(minutes=10))
    await world.put(*(job() for _ in range(8)))
    (first, second, third), _ = await claimed(world)
    await world.store.release([Release(*first, is_newer=True), Release(*second)], [])
    (_,), answer = await claimed(world)
    assert answer.is_full
    # Of what was saved up since then, nobody knows.
    await world.set_times(third.id, {"reserved_at": -601})
    await world.store.release([Release(*third, is_newer=True)], [])
    assert (await claimed(world))[0] == []


async def test_a_queue_may_have_a_limit_and_a_rate(world: WithVerbs) -> None:
    await rated(world, size=2)
    await world.put(*(job() for _ in range(6)))
    (first, _), answer = await claimed(world)
    assert (answer.is_full, answer.room_in) == (True, None)
    await world.settle(success(first))
    (second,), answer = await claimed(world)
    assert answer.room_in is not None
    await world.settle(success(second))
    assert (await claimed(world))[0] == []
    await world.pass_time(10)
    assert len((await claimed(world))[0]) == 1


async def test_a_rate_counts_over_all_keys(world: WithVerbs) -> None:
    await rated(world, size=1, path=["customer", "id"])
    await world.put(*(of(key) for key in "aabbccdd"))
    _, answer = await claimed(world, from_key="")
    assert [json.loads(row.input)["customer"]["id"] for row in answer.rows] == ["a", "b", "c"]
    assert (answer.is_full, answer.has_more) == (True, False)
    assert answer.room_in == pytest.approx(10, abs=2)
    await world.pass_time(10)
    assert await customers(world) == ["d"]


# By key


async def test_as_many_of_each_key_run_by_priority_and_age(world: WithVerbs) -> None:
    await declare(world, "q", path=["customer", "id"])
    await world.put(*(of("a") for _ in range(4)), of("b"), of("a", priority=-1), of(7), of(None))
    await world.put(job(input='"no object"'), job(input="{}"))
    first, answer = await claimed(world, from_key="")
    assert answer.is_full
    assert [json.loads(row.input) for row in answer.rows] == [
        {"customer": {"id": "a"}},
        {"customer": {"id": "a"}},
        {"customer": {"id": "b"}},
        {"customer": {"id": 7}},
        {"customer": {"id": None}},
        # With the one before it, all that may run without a key.
        "no object",
    ]
    assert answer.rows[0].priority == -1
    assert await customers(world) == []
    await world.settle(success(first[1]))
    assert await customers(world) == ["a"]
    await world.settle(success(first[4]))
    await world.settle(success(first[0]))
    _, answer = await claimed(world, from_key="")
    assert [json.loads(row.input) for row in answer.rows] == [{"customer": {"id": "a"}}, {}]


async def test_what_was_held_up_is_as_it_was_before(world: WithVerbs) -> None:
    await declare(world, "q", size=1, path=["customer", "id"])
    when = await world.now() - timedelta(hours=1)
    ids = await world.put(of("a", scheduled_at=when), of("a", scheduled_at=when), of("a"), of("a"))
    before = await world.rows(ids)
    (running,), _ = await claimed(world, from_key="")
    assert (await world.row(ids[2])).scheduled_at != before[2].scheduled_at
    for at in (1, 2, 3):
        await world.settle(success(running))
        (running,), answer = await claimed(world, from_key="")
        assert running.id == ids[at]
        assert answer.rows[0].scheduled_at == before[at].scheduled_at
    await world.settle(success(running))
    assert not (await claimed(world, from_key=""))[1].is_full


async def test_a_held_up_job_can_be_cancelled_put_off_and_given_another_priority(
    world: WithVerbs,
) -> None:
    await declare(world, "q", size=1, path=["customer", "id"])
    running, gone, later, urgent, last = await world.put(*(of("a") for _ in range(5)))
    (claim,), _ = await claimed(world, from_key="")
    assert claim.id == running
    assert await world.store.cancel(gone, "q")
    when = await world.now() + timedelta(hours=1)
    assert await world.store.change(later, "q", Change(True, when, None))
    assert await world.store.change(urgent, "q", Change(False, None, -1))
    for id in (urgent, last):
        await world.settle(success(claim))
        (claim,), _ = await claimed(world, from_key="")
        assert claim.id == id
    await world.settle(success(claim))
    assert (await claimed(world, from_key=""))[0] == []
    await world.store.change(later, "q", Change(True, None, None))
    assert [each.id for each in (await claimed(world, from_key=""))[0]] == [later]
    assert (await world.row(later)).scheduled_at is None


async def test_what_a_handler_set_aside_is_due_at_its_own_time(world: WithVerbs) -> None:
    await declare(world, "q", size=1, path=["customer", "id"])
    _, second = await world.put(of("a"), of("a"))
    (claim,), _ = await claimed(world, from_key="")
    await world.settle(success(claim))
    (claim,), _ = await claimed(world, from_key="")
    assert claim.id == second
    until = f"{(await world.now() + timedelta(days=1)).timestamp():.6f}"
    await world.store.release([Release(*claim, set_aside=SetAside(until))], [])
    assert (await claimed(world, from_key=""))[0] == []
    assert (await world.row(second)).scheduled_at == until


async def test_jobs_of_a_full_key_are_looked_at_once_and_keep_no_other_key_waiting(
    world: WithVerbs,
) -> None:
    await declare(world, "q", size=1, path=["customer", "id"])
    await world.put(*(of("a") for _ in range(150)), of("b"))
    assert await customers(world, limit=5) == ["a"]
    answers = [await claimed(world, limit=5, from_key="") for _ in range(3)]
    assert [len(rows) for rows, _ in answers] == [0, 0, 1]
    assert [answer.has_more for _, answer in answers] == [True, True, False]
    if isinstance(world, PostgresWorld):
        (held_up,) = await world.execute(
            "select count(*), count(distinct ctid) from m25.job where was_due_at is not null"
        )
        assert held_up[0] == 149


async def test_a_key_may_be_of_any_length_and_hold_anything(world: WithVerbs) -> None:
    await declare(world, "q", size=1, path=["customer", "id"])
    keys = ["x" * 100_000, "o'clock %s {schema} \\", '"', "größe", " ", "x" * 201]
    await world.put(*(of(key) for key in keys * 2))
    found = await customers(world, limit=20)
    # Of a long one as much counts as can be in an index.
    assert sorted(found) == sorted(set(keys) - {"x" * 201})
    assert await customers(world, limit=20) == []


@pytest.mark.parametrize("from_key", [None, ""])
async def test_claims_that_come_at_once_never_take_one_too_many(
    database: PostgresWorld, from_key: str | None
) -> None:
    path = None if from_key is None else ["customer", "id"]
    await declare(database, "q", size=3, path=path)
    await database.put(*(of("ab"[number % 2]) for number in range(120)))
    keys = 1 if path is None else 2
    most = Counter[int]()

    async def work() -> None:
        for _ in range(12):
            claims, _ = await claimed(database, limit=4, from_key=from_key)
            ((running,),) = await database.execute(
                "select count(*) from m25.job where status = 'executing'"
            )
            most[running] += 1
            for claim in claims:
                await database.settle(success(claim))

    async with trio.open_nursery() as nursery:
        for _ in range(6):
            nursery.start_soon(work)
    assert max(most) <= 3 * keys


async def test_what_is_held_up_is_found_with_its_own_time(
    world: WithVerbs,
) -> None:
    await declare(world, "q", size=1, path=["customer", "id"])
    when = await world.now() - timedelta(hours=1)
    _, held_up, put_off = await world.put(
        of("ada", priority=-1), of("ada", scheduled_at=when), of("ada")
    )
    await claimed(world, from_key="")
    later = await world.now() + timedelta(hours=1)
    assert await world.store.change(put_off, "q", Change(True, later, None))
    found = await world.store.operator.find(
        JobFilter(statuses=["pending"]), after=None, limit=9, walk=9
    )
    times = {each.id: float(each.run_at) for each in found.jobs}
    assert times == {
        held_up: pytest.approx(when.timestamp()),
        put_off: pytest.approx(later.timestamp()),
    }
    row = await world.row(held_up)
    assert row.scheduled_for is not None
    assert float(row.scheduled_for) == pytest.approx(when.timestamp())
    assert (await world.row(put_off)).scheduled_for == (await world.row(put_off)).scheduled_at


@pytest.mark.parametrize("year", [2100, 9500])
async def test_what_is_held_up_and_put_off_waits_for_its_new_time(
    world: WithVerbs, year: int
) -> None:
    await declare(world, "q", size=1, path=["customer", "id"])
    running, held_up = await world.put(of("ada"), of("ada"))
    (claim,), _ = await claimed(world, from_key="")
    assert claim.id == running
    later = datetime(year, 1, 1, tzinfo=UTC)
    assert await world.store.change(held_up, "q", Change(True, later, None))
    await world.settle(success(claim))
    assert await customers(world) == []
    assert await world.store.change(held_up, "q", Change(True, None, None))
    assert await customers(world) == ["ada"]


async def test_what_is_held_up_and_put_off_by_sql_waits_for_its_new_time(
    database: PostgresWorld,
) -> None:
    await declare(database, "q", size=1, path=["customer", "id"])
    _, held_up = await database.put(of("ada"), of("ada"))
    (claim,), _ = await claimed(database, from_key="")
    put_off = "update m25.job set scheduled_at = %(at)s where id = %(id)s"
    await database.execute(put_off, at="2100-01-01Z", id=held_up)
    await database.settle(success(claim))
    assert await customers(database) == []
    await database.execute(put_off, at=None, id=held_up)
    assert await customers(database) == ["ada"]
