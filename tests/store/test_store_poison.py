"""Rows that hold what nobody would put there: each is handled like any other, and harms none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import LiteralString

import pytest
from _world import LEASE, PostgresWorld, failure, job, make_id, success

from m25._store.protocol import WriteResult

#: What is done to a pending job, which stays due.
DUE: Mapping[str, LiteralString] = {
    "created before time began": "created_at = '-infinity'",
    "scheduled before time began": "scheduled_at = '-infinity'",
    "scheduled before Christ": "scheduled_at = '4713-01-01 00:00:00 BC'",
    "a timeout of ages": "timeout = '178000000 years'",
    "a timeout of ages ago": "timeout = '-178000000 years'",
    "a timeout of nothing": "timeout = '0'",
    "a timeout that undoes itself": "timeout = '1 month -30 days'",
    "a retry in ages": "retry_delay = '178000000 years'",
    "a retry ages ago": "retry_delay = '-178000000 years'",
    "an attempt without equal": "attempt = 2147483647, max_attempts = 2147483647",
    "attempts below zero": "attempt = -2147483648, max_attempts = 2147483647",
    "no attempts allowed": "max_attempts = -2147483648",
    "losses without end": "losses = 2147483647",
    "losses below zero": "losses = -2147483648, attempt = 2147483647",
    "the most urgent": "priority = -32768",
    "the least urgent": "priority = 32767",
    "a number of 5,000 digits": "input = repeat('7', 5000)::jsonb",
    "a fraction of 5,000 digits": "input = ('0.' || repeat('7', 5000))::jsonb",
    "JSON 5,000 deep": "input = (repeat('[', 5000) || repeat(']', 5000))::jsonb",
    "an input of a megabyte": "input = to_jsonb(repeat('x', 1000000))",
    "meta that is no object": "meta = '\"note\"'",
    "a key of nothing": "unique_key = ''",
    "an end without a beginning": "finished_at = now(), failure_reason = 'gone'",
    "a beginning without a claim": "started_at = now(), deadline = '-infinity'",
    "a heartbeat at the end of time": "latest_heartbeat_at = 'infinity'",
}

#: The same, not due.
LATER: Mapping[str, LiteralString] = {
    "created when time ends": "created_at = 'infinity'",
    "scheduled when time ends": "scheduled_at = 'infinity'",
    "scheduled beyond the year 9999": "scheduled_at = '294276-12-31 23:59:59+00'",
}


async def _poisoned(database: PostgresWorld, what: LiteralString) -> str:
    (id,) = await database.put(job(max_attempts=2))
    await database.execute(f"update m25.job set {what} where id = %(id)s", id=id)
    assert await database.status(id) == "pending"
    return id


@pytest.mark.parametrize("what", DUE)
@pytest.mark.parametrize("reason", ["crash", "heartbeat_timeout"])
async def test_a_row_of_strange_values_runs_fails_and_is_tried_again(
    database: PostgresWorld, what: str, reason: str
) -> None:
    id = await _poisoned(database, DUE[what])
    await database.put(job(), job())
    assert await database.store.survey(["q"]) == {"q": (0, False, None)}
    claims = await database.claim(start=False)
    assert len(claims) == 3
    (claim,) = [claim for claim in claims if claim.id == id]
    good = [claim for claim in claims if claim.id != id]
    assert len(await database.start(*claims)) == 3
    finished_before = what == "an end without a beginning"
    assert await database.heartbeat(*claims) == {c.id for c in claims} - {
        *([id] if finished_before else [])
    }
    results = await database.store.settle(
        [success(good[0]), failure(claim, reason), success(good[1])], allowed_losses=2**31 - 1
    )
    assert [results[one.id] for one in good] == [WriteResult.SETTLED, WriteResult.SETTLED]
    if finished_before:
        assert results[id] is WriteResult.REPEATED
        return
    assert results[id] in (WriteResult.SETTLED, WriteResult.RETRIED)
    row, following = await database.row(id), await database.successor(id)
    assert row.status == "failed"
    assert (following is not None) == (results[id] is WriteResult.RETRIED)
    if following is not None:
        assert following.attempt == min(row.attempt + 1, 2**31 - 1)
        assert following.input == row.input


@pytest.mark.parametrize("what", DUE)
async def test_a_row_of_strange_values_whose_owner_is_gone_is_swept(
    database: PostgresWorld, what: str
) -> None:
    id = await _poisoned(database, DUE[what])
    (claim,) = await database.claim()
    await database.put(job())
    await database.claim()
    await database.execute("update m25.job set lease_expires_at = '-infinity'")
    swept = {one.id for one in await database.sweep(allowed_losses=2**31 - 1)}
    if what == "an end without a beginning":
        # It was its end already.
        assert id not in swept
        assert len(swept) == 1
    else:
        assert id in swept
        assert len(swept) == 2
    assert await database.status(id) == "failed"
    assert await database.settle(success(claim)) in (WriteResult.FENCED, WriteResult.REPEATED)


@pytest.mark.parametrize("what", LATER)
async def test_a_row_of_strange_times_that_is_not_due_is_left_alone(
    database: PostgresWorld, what: str
) -> None:
    id = await _poisoned(database, LATER[what])
    misdated = what == "created when time ends"
    assert await database.store.survey(["q"]) == {"q": (86_400, misdated, None)}
    (good,) = await database.put(job())
    assert [claim.id for claim in await database.claim()] == [good]
    assert await database.store.survey(["q"]) == {"q": (86_400, misdated, None)}
    assert await database.store.redate(["q"], 10) == (["q"] if misdated else [])
    assert await database.store.cancel(id, "q") is not None


async def test_a_retry_whose_times_have_no_length_is_dated_anew(database: PostgresWorld) -> None:
    for what in ("created_at = 'infinity'", "created_at = 'infinity', scheduled_at = 'infinity'"):
        (id,) = await database.put(job(max_attempts=2, scheduled_at=await database.now()))
        (claim,) = await database.claim()
        await database.settle(failure(claim))
        following = await database.successor(id)
        assert following is not None
        await database.execute(
            f"update m25.job set {what} where id = %(id)s",
            id=following.id,
        )
        assert await database.store.redate(["q"], 10) == (["q"] if "scheduled" in what else [])
        assert (await database.store.survey(["q"]))["q"].misdated is False
        await database.store.cancel(following.id, "q")


@pytest.mark.parametrize("infinite", ["-infinity", "infinity"])
@pytest.mark.parametrize("start", [True, False])
async def test_a_row_claimed_at_no_real_time_is_judged_all_the_same(
    database: PostgresWorld, infinite: str, start: bool
) -> None:
    await database.put(*(job() for _ in range(3)))
    claims = await database.claim(start=start)
    ours, lost, originals = (claim.id for claim in claims)
    await database.execute(
        "update m25.job set reserved_at = %(at)s, lease_expires_at = %(at)s, deadline = %(at)s",
        at=infinite,
    )
    await database.disown(originals)
    assert ours in await database.heartbeat(claims[0])
    swept = {one.id for one in await database.sweep()}
    expected = {lost, originals} if infinite == "-infinity" else set()
    if infinite == "-infinity" and not start:
        # Its lease cannot outlast what it was reserved for, which was long ago.
        expected.add(ours)
    assert swept == expected


async def test_a_good_job_is_run_whatever_else_is_on_its_queue(database: PostgresWorld) -> None:
    for what in (*DUE.values(), *LATER.values()):
        await _poisoned(database, what.replace("unique_key = ''", f"unique_key = '{make_id()}'"))
    good = await database.put(*(job() for _ in range(5)))
    claims = await database.claim(limit=500)
    assert len(claims) == len(DUE) + len(good)
    assert len(await database.store.get([claim.id for claim in claims])) == len(claims)
    await database.pass_time(LEASE.total_seconds() + 1)
    assert len(await database.sweep(limit=500)) == len(claims) - 1
