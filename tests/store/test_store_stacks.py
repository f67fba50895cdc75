"""Who is asked for the stack of a job, and whose the answer is, on both stores."""

from __future__ import annotations

import trio
from _world import LEASE, RESERVED_TIMEOUT, WithVerbs, job, success, token

from m25._store.protocol import StackAnswer, StackAsked
from support.hearing import hearing
from support.waiting import PATIENCE


async def test_the_owner_is_asked_and_its_answer_is_found_until_it_is_forgotten(
    world: WithVerbs,
) -> None:
    await world.put(job(), job())
    asked, other = await world.claim()
    async with hearing(world.store.listen, ["q"]) as told:
        with trio.fail_after(PATIENCE):
            assert await anext(told) is None
            asked_at = await world.store.request_stack(asked.id, "q")
            assert await anext(told) == StackAsked("q", asked.id)
    assert asked_at is not None
    # The heartbeat says so, too, until it is answered.
    answer = await world.store.heartbeat([asked, other], LEASE, RESERVED_TIMEOUT)
    assert (answer.stacks_asked, answer.to_cancel) == ({asked.id}, set())
    assert await world.store.find_stack(asked.id) == StackAnswer("executing", asked_at, None)
    assert await world.store.answer_stack(asked, "here")
    assert await world.store.find_stack(asked.id) == StackAnswer("executing", asked_at, "here")
    answer = await world.store.heartbeat([asked, other], LEASE, RESERVED_TIMEOUT)
    assert answer.stacks_asked == set()
    await world.store.forget_stack(asked.id, asked_at)
    assert await world.store.find_stack(asked.id) == StackAnswer("executing", None, None)
    assert await world.store.find_stack(token()) is None


async def test_only_a_live_job_that_knows_of_requests_is_asked(world: WithVerbs) -> None:
    (pending,) = await world.put(job())
    assert await world.store.request_stack(pending, "q") is None
    claim = await world.claim_one()
    await world.settle(success(claim))
    assert await world.store.request_stack(claim.id, "q") is None
    await world.put(job())
    original = await world.claim_one()
    await world.disown(original.id)
    assert await world.store.request_stack(original.id, "q") is None


async def test_nobody_answers_who_was_not_asked_or_has_lost_the_claim(world: WithVerbs) -> None:
    await world.put(job())
    claim = await world.claim_one()
    assert not await world.store.answer_stack(claim, "forged")
    assert await world.store.request_stack(claim.id, "q") is not None
    assert not await world.store.answer_stack(claim._replace(token=token()), "forged")
    assert await world.store.answer_stack(claim, "first")
    assert not await world.store.answer_stack(claim, "second")
    found = await world.store.find_stack(claim.id)
    assert found is not None
    assert found.stack == "first"


async def test_a_later_request_outlasts_an_earlier_one_and_is_forgotten_with_the_claim(
    world: WithVerbs,
) -> None:
    await world.put(job())
    claim = await world.claim_one()
    assert await world.store.request_stack(claim.id, "q") is not None
    await world.store.answer_stack(claim, "stale")
    await world.pass_time(1)
    found = await world.store.find_stack(claim.id)
    assert found is not None
    earlier = found.asked_at
    assert earlier is not None
    later = await world.store.request_stack(claim.id, "q")
    assert await world.store.find_stack(claim.id) == StackAnswer("executing", later, None)
    await world.store.forget_stack(claim.id, earlier)
    assert await world.store.find_stack(claim.id) == StackAnswer("executing", later, None)
    await world.release(claim)
    assert await world.store.find_stack(claim.id) == StackAnswer("pending", None, None)
