"""The life of a job is the table `MOVES`, on both stores: every verb is tried in every status."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta

import pytest
from _world import LEASE, WithVerbs, failure, job, make_id, success, token

from m25 import _lifecycle as lifecycle
from m25._lifecycle import LIVE, MOVES, JobStatus, Token
from m25._store.protocol import (
    FOREVER,
    Change,
    ClaimedJob,
    DeclaredQueue,
    FairClaim,
    LimitedClaim,
    NewMessage,
    Release,
    Sent,
    SetAside,
    Worker,
)

#: How to bring a new job into each status, and the claim on it, such as it is.
Lead = Callable[[WithVerbs, str], Awaitable[ClaimedJob]]


async def pending(world: WithVerbs, queue_name: str) -> ClaimedJob:
    (id,) = await world.put(job(queue_name))
    return ClaimedJob(id, token())


async def pending_again(world: WithVerbs, queue_name: str) -> ClaimedJob:
    claim = await executing(world, queue_name)
    await world.release(claim)
    return claim


async def reserved(world: WithVerbs, queue_name: str) -> ClaimedJob:
    await world.put(job(queue_name))
    (claim,) = await world.claim(queue_name, start=False)
    return claim


async def executing(world: WithVerbs, queue_name: str) -> ClaimedJob:
    await world.put(job(queue_name))
    (claim,) = await world.claim(queue_name)
    return claim


async def executing_after_setup(world: WithVerbs, queue_name: str) -> ClaimedJob:
    claim = await reserved(world, queue_name)
    await world.start(claim)
    return claim


async def succeeded(world: WithVerbs, queue_name: str) -> ClaimedJob:
    claim = await executing(world, queue_name)
    await world.settle(success(claim))
    return claim


async def failed(world: WithVerbs, queue_name: str) -> ClaimedJob:
    claim = await executing(world, queue_name)
    await world.settle(failure(claim))
    return claim


async def cancelled(world: WithVerbs, queue_name: str) -> ClaimedJob:
    claim = await pending(world, queue_name)
    await world.store.cancel(claim.id, queue_name)
    return claim


async def reserved_to_be_cancelled(world: WithVerbs, queue_name: str) -> ClaimedJob:
    claim = await reserved(world, queue_name)
    await world.store.request_cancel(claim.id, queue_name)
    return claim


async def executing_to_be_cancelled(world: WithVerbs, queue_name: str) -> ClaimedJob:
    claim = await executing(world, queue_name)
    await world.store.request_cancel(claim.id, queue_name)
    return claim


LEADS: Mapping[JobStatus, list[Lead]] = {
    JobStatus.PENDING: [pending, pending_again],
    JobStatus.RESERVED: [reserved, reserved_to_be_cancelled],
    JobStatus.EXECUTING: [executing, executing_after_setup, executing_to_be_cancelled],
    JobStatus.SUCCEEDED: [succeeded],
    JobStatus.FAILED: [failed],
    JobStatus.CANCELLED: [cancelled],
}


async def claim_limited(
    world: WithVerbs, name: str, *, start: bool, from_key: str | None = None
) -> None:
    path = None if from_key is None else ["key"]
    queue = DeclaredQueue(name, LEASE, limiter=name, limit_size=10, limit_path=path)
    await world.store.announce(Worker(make_id(), "1", [queue]))
    await world.store.claim_limited(
        LimitedClaim(name, limiter=name, token=token(), limit=10, lease=LEASE, start=start),
        from_key=from_key,
    )


async def claim_by_rate(world: WithVerbs, name: str, *, start: bool) -> None:
    queue = DeclaredQueue(
        name, LEASE, limiter=name, rate_interval=LEASE, rate_burst=10, rate_path=["key"]
    )
    await world.store.announce(Worker(make_id(), "1", [queue]))
    await world.store.claim_by_rate(
        LimitedClaim(name, limiter=name, token=token(), limit=10, lease=LEASE, start=start)
    )


async def claim_fairly(world: WithVerbs, name: str, *, start: bool) -> None:
    queue = DeclaredQueue(name, LEASE, limiter=name, lane_path=["key"])
    await world.store.announce(Worker(make_id(), "1", [queue]))
    # The first gives jobs their lanes.
    for _ in range(2):
        await world.store.claim_fairly(
            LimitedClaim(name, limiter=name, token=token(), limit=10, lease=LEASE, start=start),
            fair=FairClaim({}, {}, "", None),
        )


async def claim_in_order(world: WithVerbs, name: str, *, start: bool) -> None:
    queue = DeclaredQueue(name, LEASE, limiter=name, order_path=["key"], holds_failed=True)
    await world.store.announce(Worker(make_id(), "1", [queue]))
    # The first gives jobs their places.
    for _ in range(2):
        await world.store.claim_in_order(
            LimitedClaim(name, limiter=name, token=token(), limit=10, lease=LEASE, start=start),
            from_key="",
            after=None,
        )


async def succeed_and_claim(world: WithVerbs, name: str) -> None:
    ended = await executing(world, make_id())
    queue = DeclaredQueue(name, LEASE, limiter=name, limit_size=10)
    await world.store.announce(Worker(make_id(), "1", [queue]))
    await world.store.succeed_and_claim(
        [success(ended)],
        name,
        limiter=name,
        token=token(),
        limit=10,
        ahead=0,
        leaving=None,
        lease=LEASE,
    )


SOONER = datetime(2000, 1, 1, tzinfo=UTC)
#: Until a message comes.
ASIDE = SetAside(FOREVER, "yes")

#: Each verb, by whoever has most right to it.
Act = Callable[[WithVerbs, ClaimedJob, str], Awaitable[object]]

VERBS: Mapping[str, list[Act]] = {
    "enqueue": [
        lambda world, claim, name: world.store.enqueue([job(name, id=claim.id)], []),
    ],
    "claim": [
        lambda world, _, name: world.claim(name, start=True),
        lambda world, _, name: world.claim(name, start=False),
    ],
    "claim_limited": [
        lambda world, _, name: claim_limited(world, name, start=True),
        lambda world, _, name: claim_limited(world, name, start=False),
    ],
    "claim_by_key": [
        lambda world, _, name: claim_limited(world, name, start=True, from_key=""),
        lambda world, _, name: claim_limited(world, name, start=False, from_key=""),
    ],
    "claim_by_rate": [
        lambda world, _, name: claim_by_rate(world, name, start=True),
        lambda world, _, name: claim_by_rate(world, name, start=False),
    ],
    "claim_fairly": [
        lambda world, _, name: claim_fairly(world, name, start=True),
        lambda world, _, name: claim_fairly(world, name, start=False),
    ],
    "claim_in_order": [
        lambda world, _, name: claim_in_order(world, name, start=True),
        lambda world, _, name: claim_in_order(world, name, start=False),
    ],
    "succeed_and_claim": [lambda world, _, name: succeed_and_claim(world, name)],
    "confirm": [lambda world, claim, _: world.store.confirm([claim], LEASE)],
    "cancel": [lambda world, claim, name: world.store.cancel(claim.id, name)],
    "change": [
        lambda world, claim, name: world.store.change(claim.id, name, Change(True, SOONER, None))
    ],
    "request_cancel": [lambda world, claim, name: world.store.request_cancel(claim.id, name)],
    "cancel_descendants": [
        lambda world, claim, _: world.store.cancel_descendants([], [claim.id]),
    ],
    "report": [lambda world, claim, _: world.store.report([claim], ['{"done": 1}'])],
    "send": [
        lambda world, claim, name: world.store.send(
            NewMessage(claim.id, make_id(), "yes", "true"), name
        )
    ],
    "start": [lambda world, claim, _: world.start(claim)],
    "heartbeat": [lambda world, claim, _: world.heartbeat(claim)],
    "settle": [
        lambda world, claim, _: world.settle(success(claim)),
        lambda world, claim, _: world.settle(failure(claim)),
        lambda world, claim, _: world.settle(failure(claim, "heartbeat_timeout")),
    ],
    "release": [
        lambda world, claim, _: world.release(claim),
        lambda world, claim, _: world.store.release([Release(*claim, set_aside=ASIDE)], []),
    ],
    "release_claims": [lambda world, claim, name: world.store.release_claims(name, [claim.token])],
    "sweep": [lambda world, _, name: world.sweep(name)],
}


#: Of the verbs that keep the status, what they write.
WRITTEN = {
    "cancel_descendants": "cancel_requested_at",
    "change": "scheduled_at",
    "heartbeat": "latest_heartbeat_at",
    "request_cancel": "cancel_requested_at",
    "report": "progress",
}


async def test_the_table_of_moves_is_what_the_verbs_do(world: WithVerbs) -> None:
    seen = defaultdict[tuple[JobStatus, JobStatus], set[str]](set)
    for before, leads in LEADS.items():
        for verb, acts in VERBS.items():
            for lead in leads:
                for act in acts:
                    queue_name = make_id()
                    claim = await lead(world, queue_name)
                    if verb == "sweep":
                        await world.pass_time(LEASE.total_seconds() + 1)
                    row = await world.row(claim.id)
                    assert row.status == before.value
                    answer = await act(world, claim, queue_name)
                    if isinstance(answer, Sent):
                        # What it writes is not for those who read the row.
                        is_sent = answer is not Sent.NOT_LIVE
                        assert is_sent == (before in lifecycle.VERBS[verb].moves)
                    row_after = await world.row(claim.id)
                    after = JobStatus(row_after.status)
                    if after is not before:
                        seen[before, after].add(verb)
                    elif written := WRITTEN.get(verb):
                        at = getattr(row_after, written)
                        assert row_after._replace(**{written: getattr(row, written)}) == row
                        assert (at is not None) == (before in lifecycle.VERBS[verb].moves)
                    else:
                        # A move that is not to be made changes nothing at all.
                        assert row_after == row, (verb, before)
    assert seen == MOVES
    assert set(VERBS) == {"enqueue", *lifecycle.VERBS}


async def test_a_verb_that_demands_the_claims_own_token_does_nothing_with_another(
    world: WithVerbs,
) -> None:
    tried: set[str] = set()
    for before, leads in LEADS.items():
        for verb, rule in lifecycle.VERBS.items():
            if rule.token is Token.OWN or (rule.token is Token.OWN_OR_NEW and before in LIVE):
                tried.add(verb)
                for act in VERBS[verb]:
                    queue_name = make_id()
                    claim = await leads[0](world, queue_name)
                    row = await world.row(claim.id)
                    await act(world, claim._replace(token=token()), queue_name)
                    assert await world.row(claim.id) == row, (verb, before)
                    assert await world.successor(claim.id) is None
    assert tried == set(lifecycle.VERBS) - {
        "claim",
        "claim_limited",
        "claim_by_key",
        "claim_by_rate",
        "claim_fairly",
        "claim_in_order",
        "succeed_and_claim",
        "cancel",
        "change",
        "request_cancel",
        "cancel_descendants",
        "send",
        "sweep",
    }


async def test_a_verb_that_waits_for_a_time_does_nothing_before(world: WithVerbs) -> None:
    timed = {verb for verb, rule in lifecycle.VERBS.items() if rule.time}
    claims = {name for name in timed if "claim" in name}
    assert timed == {*claims, "sweep"}
    scheduled_at = await world.now() + timedelta(minutes=1)
    (id,) = await world.put(job("later", scheduled_at=scheduled_at))
    for verb in claims:
        for act in VERBS[verb]:
            await act(world, ClaimedJob(id, token()), "later")
    assert await world.status(id) == "pending"
    for lead in (*LEADS[JobStatus.RESERVED], *LEADS[JobStatus.EXECUTING]):
        queue_name = make_id()
        claim = await lead(world, queue_name)
        row = await world.row(claim.id)
        for act in VERBS["sweep"]:
            await act(world, claim, queue_name)
        assert await world.row(claim.id) == row


@pytest.mark.parametrize("final", ["succeeded", "failed", "cancelled"])
def test_no_move_leads_out_of_a_final_status(final: str) -> None:
    assert not [move for move in MOVES if move[0] is JobStatus(final)]
