"""Jobs of a fair queue are claimed in turns between keys, on both stores."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from uuid import uuid4

import attrs
import pytest
from _world import LEASE, PostgresWorld, WithVerbs, failure, job, success, token

from m25._store.lanes import key_of
from m25._store.protocol import (
    Change,
    ClaimedJob,
    DeclaredQueue,
    FairClaim,
    FairlyClaimed,
    LimitedClaim,
    NewJob,
    Release,
    Walked,
    Worker,
)

TIMEOUT = timedelta(minutes=5)
PATH = ("customer",)


async def declare(
    world: WithVerbs, *, size: int | None = None, every: timedelta | None = None
) -> None:
    burst = None if every is None else 1
    queue = DeclaredQueue("q", TIMEOUT, 1, None, "q", size, None, every, burst, lane_path=PATH)
    await world.store.announce(Worker(str(uuid4()), "1", [queue]))


def of(customer: object, *, laned: bool = True, priority: int = 0) -> NewJob:
    """A job of a customer's, as a program puts it that knows the queue; or as any other does."""
    new = job(input=json.dumps({"customer": customer}), priority=priority)
    return new._replace(lane=key_of(new.input, PATH)) if laned else new


@attrs.define
class Claimer:
    """Claims from where its latest claim ended, as a worker does."""

    world: WithVerbs
    from_lane: str = ""
    after: Walked | None = None

    async def claim(
        self,
        limit: int = 10,
        used: Mapping[str, float] | None = None,
        weights: Mapping[str, float] | None = None,
    ) -> tuple[list[ClaimedJob], FairlyClaimed]:
        mine = token()
        answer = await self.world.store.claim_fairly(
            LimitedClaim("q", limiter="q", token=mine, limit=limit, lease=LEASE, start=True),
            fair=FairClaim(used or {}, weights or {}, self.from_lane, self.after),
        )
        self.from_lane, self.after = answer.next_lane or "", answer.walked
        return [ClaimedJob(row.id, mine) for row in answer.rows], answer

    async def customers(
        self,
        limit: int = 10,
        used: Mapping[str, float] | None = None,
        weights: Mapping[str, float] | None = None,
    ) -> list[str]:
        """Whose jobs a claim has brought, by name."""
        _, answer = await self.claim(limit, used, weights)
        return sorted(str(json.loads(row.input)["customer"]) for row in answer.rows)


async def test_a_claim_takes_as_many_of_each_key_whatever_waits_of_one(world: WithVerbs) -> None:
    await declare(world)
    many = await world.put(*(of("ada") for _ in range(30)))
    few = await world.put(of("bob"), of("bob"), of("cyd"))
    claims, answer = await Claimer(world).claim(6)
    assert {claim.id for claim in claims} == {*many[:3], *few}
    assert (answer.is_full, answer.has_more, answer.next_lane) == (False, False, None)


async def test_what_runs_already_counts_and_what_a_worker_has_done_of_late(
    world: WithVerbs,
) -> None:
    await declare(world)
    await world.put(*(of("ada") for _ in range(30)))
    claimer = Claimer(world)
    running, _ = await claimer.claim(3)
    await world.put(*(of("bob") for _ in range(30)))
    assert await claimer.customers(5) == ["ada"] + ["bob"] * 4
    for claim in running:
        await world.settle(success(claim))
    # One of ada's runs, and four of bob's; six of ada's have ended.
    assert await claimer.customers(5, {"ada": 6.0}) == ["ada"] + ["bob"] * 4


async def test_a_key_has_as_much_as_its_weight_says(world: WithVerbs) -> None:
    await declare(world)
    await world.put(*(of("ada") for _ in range(30)), *(of("bob") for _ in range(30)))
    assert await Claimer(world).customers(8, None, {"bob": 3}) == ["ada"] * 2 + ["bob"] * 6


async def test_within_a_key_priority_and_age_say_what_comes_first(world: WithVerbs) -> None:
    await declare(world)
    first, second, urgent = await world.put(of("ada"), of("ada"), of("ada", priority=-1))
    await world.put(of("bob"))
    claimer = Claimer(world)
    found, _ = await claimer.claim(2)
    assert urgent in {claim.id for claim in found}
    found, _ = await claimer.claim(1)
    assert [claim.id for claim in found] == [first]
    found, _ = await claimer.claim()
    assert [claim.id for claim in found] == [second]


async def test_of_keys_that_have_had_as_much_the_older_job_comes_first(world: WithVerbs) -> None:
    await declare(world)
    # By name, and by id, the others would.
    await world.put(*(of(f"{n:02}") for n in range(20)))
    an_hour_ago = await world.now() - timedelta(hours=1)
    await world.put(of("zoe")._replace(scheduled_at=an_hour_ago))
    assert await Claimer(world).customers(1) == ["zoe"]


async def test_each_of_many_keys_has_its_turn(world: WithVerbs) -> None:
    await declare(world)
    names = [f"{n:03}" for n in range(130)]
    await world.put(*(of(name) for name in names for _ in range(2)))
    claimer = Claimer(world)
    found = [name for _ in range(3) for name in await claimer.customers(50)]
    # At fifty lanes a claim looks; the third comes to the last.
    assert sorted(found[:100]) == names[:100]
    assert set(found[100:]) == set(names[100:])
    assert claimer.from_lane == ""


async def test_a_job_that_was_put_without_a_lane_is_given_one(world: WithVerbs) -> None:
    await declare(world)
    await world.put(*(of("ada") for _ in range(210)))
    values = ["bob", 1.50, True, None, ["x"], {"a": 1}, "é" * 300]
    await world.put(*(of(value, laned=False) for value in values))
    claimer = Claimer(world)
    # The first looks at two hundred jobs, and the second at the rest.
    assert (await claimer.claim(1))[1].walked is not None
    _, answer = await claimer.claim(1)
    assert (answer.walked, answer.has_more) == (None, True)
    found, _ = await claimer.claim(20)
    rows = [await world.row(claim.id) for claim in found]
    lanes = {row.lane for row in rows}
    assert lanes == {"ada", *(key_of(of(value).input, PATH) for value in values)}


async def test_what_is_not_due_has_no_lane_and_what_is_put_off_waits_in_its_own(
    world: WithVerbs,
) -> None:
    await declare(world)
    later = of("ada", laned=False)._replace(scheduled_at=await world.now() + timedelta(minutes=1))
    (_, put_off) = await world.put(later, of("ada"))
    await world.store.change(put_off, "q", Change(True, later.scheduled_at, None))
    claimer = Claimer(world)
    assert (await claimer.claim())[0] == []
    assert (await world.row(later.id)).lane is None
    await world.pass_time(61)
    assert [claim.id for claim in (await claimer.claim())[0]] == [put_off]
    assert [claim.id for claim in (await claimer.claim())[0]] == [later.id]


async def test_what_was_released_and_what_is_tried_again_has_a_lane_once_it_is_due(
    world: WithVerbs,
) -> None:
    await declare(world)
    new = of("ada")._replace(max_attempts=2, retry_delay=timedelta(seconds=30))
    snoozed, _ = await world.put(of("bob"), new)
    claimer = Claimer(world)
    claims = {claim.id: claim for claim in (await claimer.claim())[0]}
    await world.store.release([Release(*claims[snoozed], delay="60")], [])
    await world.settle(failure(claims[new.id]))
    again = await world.successor(new.id)
    assert again is not None
    assert {again.lane, (await world.row(snoozed)).lane} == {None}
    await world.pass_time(31)
    await claimer.claim()
    assert [claim.id for claim in (await claimer.claim())[0]] == [again.id]
    await world.pass_time(30)
    await claimer.claim()
    assert [claim.id for claim in (await claimer.claim())[0]] == [snoozed]


async def test_a_fair_queue_keeps_to_its_limit_and_its_rate(world: WithVerbs) -> None:
    await declare(world, size=2)
    await world.put(*(of("ada") for _ in range(5)), of("bob"))
    claimer = Claimer(world)
    assert await claimer.customers() == ["ada", "bob"]
    found, answer = await claimer.claim()
    assert (found, answer.is_full) == ([], True)
    await declare(world, every=timedelta(seconds=10))
    await world.pass_time(9)
    found, answer = await claimer.claim()
    # With the burst.
    assert len(found) == 2
    assert answer.is_full
    assert answer.room_in == pytest.approx(10, abs=1)


async def test_a_claim_leaves_what_others_have_locked_and_a_paused_queue(world: WithVerbs) -> None:
    await declare(world)
    first, second, third = await world.put(of("ada"), of("ada"), of("bob", laned=False))
    claimer = Claimer(world)
    async with world.locked(first, third):
        found, answer = await claimer.claim(2)
        assert [claim.id for claim in found] in ([second], [])
        assert not answer.is_full
    await world.store.pause("q", None, TIMEOUT)
    assert (await claimer.claim())[0] == []
    await world.store.resume("q")
    await claimer.claim()
    await claimer.claim()
    assert {(await world.row(id)).status for id in (first, second, third)} == {"executing"}


async def test_any_claim_takes_what_waits_in_lanes(world: WithVerbs) -> None:
    """A worker that does not know the queue as fair runs its jobs by priority and age."""
    ids = await world.put(of("ada"), of("ada"), of("bob"))
    assert [claim.id for claim in await world.claim()] == ids


async def test_a_claim_costs_as_much_whatever_waits(database: PostgresWorld) -> None:
    """It reads the lanes that it takes from, and never what is behind the first jobs of each."""
    await declare(database)
    await database.execute(
        "insert into m25.job (id, queue_name, input, timeout, attempt, lane)"
        " select gen_random_uuid(), 'q', '{\"customer\": \"ada\"}', '5 min', 1, 'ada'"
        " from generate_series(1, 5000)"
    )
    await database.put(of("bob"))
    await database.execute("vacuum analyze m25.job")
    claimer = Claimer(database)
    await claimer.claim(1)
    before = await read(database)
    found, _ = await claimer.claim(2, {"ada": 50.0})
    assert len(found) == 2
    assert await read(database) - before < 1000


async def read(world: PostgresWorld) -> int:
    """How many rows of the job table were read by all so far."""
    await world.execute("select pg_stat_force_next_flush()")
    ((number,),) = await world.execute(
        "select seq_tup_read + idx_tup_fetch from pg_stat_user_tables where relname = 'job'"
    )
    return int(number)
