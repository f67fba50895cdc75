"""The rules of the lifecycle are the same in Python, in the schema and in the statements."""

from __future__ import annotations

import itertools
from importlib import resources

from _world import RESERVED_TIMEOUT, PostgresWorld, WithVerbs, job

from m25._lifecycle import (
    FailureReason,
    JobStatus,
    derive_status,
    has_next_attempt,
    is_dead,
    reason_of_death,
)

DECIDING = ("cancelled_at", "reserved_at", "started_at", "finished_at", "failure_reason")
RETRY_RULE = resources.files("m25._store") / "sql" / "parts" / "has_next_attempt.sql"


async def test_the_schema_derives_the_same_status_from_the_same_columns(
    database: PostgresWorld,
) -> None:
    set_to = dict.fromkeys(DECIDING, "now()") | {"failure_reason": "'crash'"}
    for columns in itertools.product((True, False), repeat=len(DECIDING)):
        (id,) = await database.put(job())
        is_set = dict(zip(DECIDING, columns, strict=True))
        values = {name: set_to[name] if is_set[name] else "null" for name in DECIDING}
        changes = ", ".join(f"{name} = {value}" for name, value in values.items())
        await database.execute(f"update m25.job set {changes} where id = %(id)s", id=id)  # type: ignore[arg-type]
        expected = derive_status(**{name: value or None for name, value in is_set.items()})
        assert await database.status(id) == expected.value, is_set


async def test_the_statements_retry_by_the_same_rule(database: PostgresWorld) -> None:
    some, none_or_some = (1, 2, 3, 5), (0, 1, 2, 3, 5)
    cases = list(itertools.product(FailureReason, some, some, none_or_some, none_or_some))
    rows = ", ".join(
        f"({number}, '{reason.value}', {', '.join(map(str, numbers))})"
        for number, (reason, *numbers) in enumerate(cases)
    )
    found = await database.execute(
        f"select number, {RETRY_RULE.read_text()} from (values {rows})"  # type: ignore[arg-type]
        " as c (number, failure_reason, attempt, max_attempts, losses, allowed_losses)"
    )
    assert dict(found) == {
        number: has_next_attempt(
            reason, attempt=attempt, max_attempts=most, losses=losses, allowed_losses=allowed
        )
        for number, (reason, attempt, most, losses, allowed) in enumerate(cases)
    }
    success = await database.execute(
        f"select {RETRY_RULE.read_text()} from (values (null::text, 1, 9, 0, 9))"  # type: ignore[arg-type]
        " as c (failure_reason, attempt, max_attempts, losses, allowed_losses)"
    )
    assert success == [(False,)]


TIMES = ("lease_expires_at", "deadline", "reserved_at")


async def test_the_same_rows_are_dead_to_every_sweep(world: WithVerbs) -> None:
    expected: dict[str, str | None] = {}
    timeout = int(RESERVED_TIMEOUT.total_seconds())
    for start, ours, *late in itertools.product((True, False), repeat=5):
        (id,) = await world.put(job())
        (claim,) = await world.claim(start=start)
        seconds = dict(zip(TIMES, (-30 if each else 30 for each in late), strict=True))
        seconds["reserved_at"] -= timeout
        await world.set_times(claim.id, seconds)
        if not ours:
            await world.disown(claim.id)
        status = JobStatus.EXECUTING if start else JobStatus.RESERVED
        if is_dead(status, has_token=ours, reserved_timeout=timeout, now=0, **seconds):
            expected[id] = reason_of_death(has_token=ours).value if start else None
    assert {one.id: one.failure_reason for one in await world.sweep()} == expected
    assert 0 < len(expected) < 32
