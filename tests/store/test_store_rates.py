"""By a rate with keys and costs no more of a key begins than its clock allows, on both stores."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
import trio
from _world import LEASE, PostgresWorld, WithVerbs, job, success, token

from m25._store.protocol import (
    Change,
    Claimed,
    ClaimedJob,
    DeclaredQueue,
    LimitedClaim,
    NewJob,
    RateHold,
    Worker,
)

TIMEOUT = timedelta(minutes=5)


async def declare(
    world: WithVerbs,
    *names: str,
    every: float = 10,
    burst: int = 1,
    size: int | None = None,
    key: str | None = "customer",
    cost: str | None = None,
) -> None:
    queues = [
        DeclaredQueue(
            name,
            TIMEOUT,
            limiter="l",
            limit_size=size,
            rate_interval=timedelta(seconds=every),
            rate_burst=burst,
            rate_path=None if key is None else [key],
            cost_path=None if cost is None else [cost],
        )
        for name in names or ("q",)
    ]
    await world.store.announce(Worker(str(uuid4()), "1", queues))


def of(customer: object, queue: str = "q", *, cost: object = 1, **options: object) -> NewJob:
    given = json.dumps({"customer": customer, "cost": cost})
    return job(queue, input=given, **options)  # type: ignore[arg-type]


async def claim(
    world: WithVerbs, queue: str = "q", *, limit: int = 10
) -> tuple[list[ClaimedJob], Claimed]:
    mine = token()
    answer = await world.store.claim_by_rate(
        LimitedClaim(queue, limiter="l", token=mine, limit=limit, lease=LEASE, start=True)
    )
    return [ClaimedJob(row.id, mine) for row in answer.rows], answer


async def begun(world: WithVerbs, queue: str = "q", *, limit: int = 10) -> list[str]:
    """The customers whose jobs a claim begins, in order."""
    _, answer = await claim(world, queue, limit=limit)
    return [json.loads(row.input)["customer"] for row in answer.rows]


async def test_each_key_has_a_clock_of_its_own_and_waits_for_no_other(world: WithVerbs) -> None:
    await declare(world)
    await world.put(*(of("a") for _ in range(5)), of("b"), of("b"), of("c"))
    _, answer = await claim(world)
    # One, and one for the burst.
    assert [json.loads(row.input)["customer"] for row in answer.rows] == [*"aabbc"]
    assert (answer.is_full, answer.has_more) == (True, False)
    assert answer.room_in == pytest.approx(10, abs=2)
    assert await begun(world) == []
    await world.put(of("d"))
    assert await begun(world) == ["d"]
    await world.pass_time(10)
    assert await begun(world) == ["a"]
    await world.pass_time(25)
    assert await begun(world) == ["a", "a"]
    _, answer = await claim(world)
    assert (answer.is_full, answer.room_in) == (False, None)


async def test_by_key_the_order_is_that_of_priority_and_age(world: WithVerbs) -> None:
    await declare(world)
    ids = await world.put(*(of("a") for _ in range(4)))
    (first, second), _ = await claim(world)
    assert [first.id, second.id] == ids[:2]
    (urgent,) = await world.put(of("a", priority=-1))
    assert await begun(world) == []
    for expected in (urgent, ids[2], ids[3]):
        await world.pass_time(10)
        (found,), _ = await claim(world)
        assert found.id == expected


async def test_what_was_held_up_by_a_rate_is_as_it_was_before(world: WithVerbs) -> None:
    await declare(world, burst=1)
    when = await world.now() - timedelta(hours=1)
    ids = await world.put(*(of("a", scheduled_at=when) for _ in range(3)), of("a"), of("a"))
    before = await world.rows(ids)
    await claim(world)
    assert (await world.row(ids[2])).scheduled_at != before[2].scheduled_at
    later = await world.now() + timedelta(hours=1)
    assert await world.store.change(ids[4], "q", Change(True, later, None))
    for at in (2, 3):
        await world.pass_time(10)
        (found,), answer = await claim(world)
        assert found.id == ids[at]
        given = answer.rows[0].scheduled_at
        assert (given is None) == (before[at].scheduled_at is None)
    await world.pass_time(3_000)
    assert await begun(world) == []
    assert (await world.row(ids[4])).status == "pending"
    await world.pass_time(700)
    assert await begun(world) == ["a"]


async def test_what_is_held_up_by_a_rate_and_put_off_by_sql_waits_for_its_new_time(
    database: PostgresWorld,
) -> None:
    await declare(database, burst=1)
    ids = await database.put(*(of("a") for _ in range(3)))
    await claim(database)
    put_off = "update m25.job set scheduled_at = %(at)s where id = %(id)s"
    await database.execute(put_off, at="2100-01-01Z", id=ids[2])
    await database.pass_time(100)
    assert await begun(database) == []
    await database.execute(put_off, at=None, id=ids[2])
    assert await begun(database) == ["a"]


async def test_a_line_whose_jobs_are_gone_keeps_nobody_waiting(world: WithVerbs) -> None:
    await declare(world)
    ids = await world.put(*(of("a") for _ in range(4)), of("b"), of("b"), of("b"))
    await claim(world)
    for id in ids[2:4]:
        assert await world.store.cancel(id, "q")
    await world.pass_time(10)
    assert await begun(world) == ["b"]
    _, answer = await claim(world)
    assert (answer.is_full, answer.has_more, answer.room_in) == (False, False, None)


async def test_what_somebody_has_locked_keeps_its_place(world: WithVerbs) -> None:
    await declare(world)
    ids = await world.put(*(of("a") for _ in range(4)))
    await claim(world)
    await world.pass_time(60)
    async with world.locked(*ids[2:]):
        none, answer = await claim(world)
        assert (none, answer.has_more) == ([], False)
    await world.pass_time(1)
    assert [each.id for each in (await claim(world))[0]] == ids[2:]


async def test_a_rate_and_a_limit_hold_together(world: WithVerbs) -> None:
    await declare(world, size=3)
    await world.put(*(of(name) for name in "aabbaa"))
    claims, answer = await claim(world)
    assert len(claims) == 3
    assert (answer.is_full, answer.room_in, answer.has_more) == (True, None, False)
    assert await begun(world) == []
    for each in claims:
        await world.settle(success(each))
    (last,), answer = await claim(world)
    assert answer.room_in == pytest.approx(10, abs=2)
    await world.settle(success(last))
    await world.pass_time(30)
    assert await begun(world) == ["a", "a"]


async def test_queues_that_share_a_rate_share_its_clocks(world: WithVerbs) -> None:
    await declare(world, "q", "r")
    await world.put(*(of("a", name) for name in "qqqrrr"))
    assert await begun(world, "q") == ["a", "a"]
    assert await begun(world, "r") == []
    await world.pass_time(10)
    assert await begun(world, "r") == ["a"]
    # This one's turn has gone to the other queue.
    _, answer = await claim(world, "q")
    assert answer.rows == []
    assert answer.room_in == pytest.approx(10, abs=2)
    await world.pass_time(10)
    assert await begun(world, "q") == ["a"]


async def test_a_paused_queue_begins_nothing_by_its_rate(world: WithVerbs) -> None:
    await declare(world)
    await world.put(of("a"))
    await world.store.pause("q", None, TIMEOUT)
    assert await begun(world) == []
    await world.store.resume("q")
    assert await begun(world) == ["a"]


async def test_without_its_row_a_rate_lets_nothing_begin(world: WithVerbs) -> None:
    await world.put(of("a"))
    assert await begun(world) == []


# Costs


async def test_a_job_is_followed_as_late_as_it_costs(world: WithVerbs) -> None:
    await declare(world, burst=4, cost="cost")
    await world.put(of("a", cost=3), of("a", cost=2), of("a", cost=2.5), of("a", cost=1))
    assert len((await claim(world))[0]) == 2
    # A heavy one is not overtaken by what would cost less, and comes later.
    await world.pass_time(20)
    await world.put(of("a", cost=1))
    # The first of these looks whether the new one is more urgent.
    await claim(world)
    none, answer = await claim(world)
    assert none == []
    assert answer.room_in == pytest.approx(10, abs=2)
    await world.pass_time(10)
    (heavy,), _ = await claim(world)
    assert json.loads((await world.row(heavy.id)).input)["cost"] == 2.5
    await world.pass_time(10)
    assert len((await claim(world))[0]) == 1


@pytest.mark.parametrize("key", [None, "customer"])
async def test_what_costs_more_than_the_burst_begins_with_all_of_it_and_is_paid_later(
    world: WithVerbs, key: str | None
) -> None:
    await declare(world, burst=1, cost="cost", key=key)
    await world.put(of("a", cost=1), of("a", cost=5), of("a", cost=1))
    assert len((await claim(world))[0]) == 1
    none, answer = await claim(world)
    assert none == []
    assert answer.room_in == pytest.approx(10, abs=2)
    await world.pass_time(10)
    (_,), answer = await claim(world)
    assert answer.room_in == pytest.approx(40, abs=2)
    await world.pass_time(39)
    assert await begun(world) == []
    await world.pass_time(2)
    assert await begun(world) == ["a"]


async def test_what_is_no_cost_is_one(world: WithVerbs) -> None:
    await declare(world, burst=10, cost="cost", key=None)
    costs: list[object] = [None, "7", True, [], 0, -3, 0.5, {"a": 1}, 1e-9]
    await world.put(*(of("a", cost=cost) for cost in costs), job(input="7"), of("a"))
    assert len((await claim(world, limit=20))[0]) == 11
    assert await begun(world) == []


async def test_a_cost_may_be_of_any_size(world: WithVerbs) -> None:
    await declare(world, every=0.001, cost="cost")
    huge = '{"customer": "a", "cost": 1e300}'
    await world.put(job(input=huge), job(input=huge))
    _, answer = await claim(world)
    # A million is the most.
    assert answer.room_in == pytest.approx(1_000, abs=2)


# Put off


@pytest.mark.parametrize("key", [None, "customer"])
async def test_a_rate_that_is_put_off_lets_nothing_of_its_key_begin_before(
    world: WithVerbs, key: str | None
) -> None:
    await declare(world, key=key, cost="cost")
    held = RateHold("a" if key else "", timedelta(seconds=100))
    await world.store.hold_rate("unheard of", [held], reads_inputs=True)
    # The longest counts, in whatever order they come.
    for seconds in (50, 100, 30):
        shorter = held._replace(delay=timedelta(seconds=seconds))
        await world.store.hold_rate(
            "l", [held._replace(delay=timedelta(0)), shorter], reads_inputs=True
        )
    await world.put(of("a"), of("a"), of("a"), of("b"))
    assert await begun(world) == (["b"] if key else [])
    await world.pass_time(98)
    assert await begun(world) == []
    await world.pass_time(4)
    # Nothing was saved up meanwhile.
    assert await begun(world) == ["a"]
    await world.pass_time(5)
    assert await begun(world) == []


async def test_a_plain_rate_is_put_off_as_a_whole(world: WithVerbs) -> None:
    await declare(world, key=None)
    await world.store.hold_rate("l", [RateHold("", timedelta(seconds=50))], reads_inputs=False)
    await world.store.hold_rate("l", [RateHold("", timedelta(seconds=20))], reads_inputs=False)
    await world.put(job(), job())

    async def found() -> Claimed:
        return await world.store.claim_limited(
            LimitedClaim("q", limiter="l", token=token(), limit=10, lease=LEASE, start=True)
        )

    answer = await found()
    assert answer.rows == []
    await world.pass_time(52)
    assert len((await found()).rows) == 1


# Turns


@pytest.mark.parametrize(("key", "cost"), [("customer", None), (None, "cost"), (None, None)])
async def test_what_is_no_job_takes_turns_of_the_same_clock(
    world: WithVerbs, key: str | None, cost: str | None
) -> None:
    await declare(world, burst=2, key=key, cost=cost)
    whose = "a" if key else None

    async def waits(cost: int = 1) -> float | None:
        turn = await world.store.take_turn("l", key=whose, cost=cost)
        assert turn is not None
        assert turn.has_key == (key is not None)
        return turn.wait

    async def begun_now() -> int:
        if key or cost:
            return len((await claim(world))[0])
        answer = await world.store.claim_limited(
            LimitedClaim("q", limiter="l", token=token(), limit=10, lease=LEASE, start=True)
        )
        return len(answer.rows)

    assert await world.store.take_turn("unheard of", key=whose, cost=1) is None
    other = await world.store.take_turn("l", key=None if key else "a", cost=1)
    assert other is not None
    assert other.wait is None
    assert await waits() == 0
    assert await waits(2) == 0
    assert await waits() == pytest.approx(10, abs=2)
    await world.put(of("a"))
    await world.pass_time(12)
    assert await begun_now() == 0
    await world.pass_time(10)
    assert await begun_now() == 1
    # What costs more than the burst has all of that, and pays for the rest afterwards.
    await world.pass_time(3_600)
    assert await waits(7) == 0
    assert await waits() == pytest.approx(50, abs=2)


# Many keys


async def test_jobs_of_a_key_are_walked_over_once(world: WithVerbs) -> None:
    await declare(world)
    await world.put(*(of("a") for _ in range(150)), of("b"))
    assert await begun(world, limit=5) == ["a", "a"]
    answers = [await claim(world, limit=5) for _ in range(3)]
    assert [len(rows) for rows, _ in answers] == [0, 0, 1]
    assert [answer.has_more for _, answer in answers] == [True, True, False]


async def test_clocks_of_idle_keys_are_dropped(database: PostgresWorld) -> None:
    await declare(database)
    await database.put(*(of(str(number)) for number in range(40)))
    while await begun(database):
        pass
    counts = "select (select count(*) from m25.rate_clock), (select count(*) from m25.rate_line)"
    assert await database.execute(counts) == [(40, 0)]
    await database.pass_time(5)
    await database.put(of("0"), of("0"))
    assert await begun(database) == ["0"]
    assert await begun(database) == []
    await database.pass_time(10)
    assert await begun(database, limit=100) == ["0"]
    assert await database.execute(counts) == [(1, 0)]


async def test_claims_that_come_at_once_begin_no_more_of_a_key_than_its_rate(
    database: PostgresWorld,
) -> None:
    await declare(database, every=3600, burst=2)
    await database.put(*(of("abcd"[number % 4]) for number in range(80)))
    found: list[str] = []

    async def work() -> None:
        for _ in range(12):
            found.extend(await begun(database, limit=4))

    async with trio.open_nursery() as nursery:
        for _ in range(6):
            nursery.start_soon(work)
    assert sorted(found) == [*"aaabbbcccddd"]


# As far ahead as clocks go

CENTURY = timedelta(days=36_525).total_seconds()


@pytest.mark.parametrize("key", ["customer", None])
async def test_a_rate_may_be_as_slow_and_a_job_as_dear_as_can_be(
    world: WithVerbs, key: str | None
) -> None:
    await declare(world, every=CENTURY, key=key, cost="cost")
    await world.put(of("a", cost=1_000_000), of("a", cost=1_000_000), of("a", cost=2))
    assert await begun(world) == ["a"]
    _, answer = await claim(world)
    assert (answer.rows, answer.is_full) == ([], True)
    # As deadlines are, the next is within a thousand years of this one.
    assert answer.room_in == pytest.approx(1_000 * 365.25 * 86_400, rel=0.15)


async def test_a_rate_of_all_jobs_may_be_as_slow_as_can_be(world: WithVerbs) -> None:
    queue = DeclaredQueue(
        "q", TIMEOUT, limiter="l", rate_interval=timedelta(seconds=CENTURY / 5), rate_burst=5
    )
    await world.store.announce(Worker(str(uuid4()), "1", [queue]))
    await world.put(*(job() for _ in range(20)))
    assert await claim_without_clocks(world) == 6


async def test_turns_may_be_taken_for_as_long_as_anybody_likes(world: WithVerbs) -> None:
    await declare(world, every=CENTURY, key=None)
    for _ in range(20):
        turn = await world.store.take_turn("l", key=None, cost=1_000_000)
        assert turn is not None
        assert turn.wait is not None
    (state,) = await world.store.operator.limits(9)
    assert state.next_start_at is not None
    assert float(state.next_start_at) == datetime(9000, 1, 1, tzinfo=UTC).timestamp()
    await world.put(of("a"))
    assert await claim_without_clocks(world) == 0


async def claim_without_clocks(world: WithVerbs) -> int:
    answer = await world.store.claim_limited(
        LimitedClaim("q", limiter="l", token=token(), limit=9, lease=LEASE, start=True),
        from_key=None,
    )
    return len(answer.rows)
