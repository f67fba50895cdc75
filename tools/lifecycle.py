"""Write `docs/lifecycle.md`: the life of a job, a claim and a chain, as `m25._lifecycle` has it.

python tools/lifecycle.py
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from m25._lifecycle import (
    CLAIM_MOVES,
    FINAL,
    KEYLESS,
    LIVE,
    MOVES,
    VERBS,
    FailureReason,
    JobStatus,
    derive_status,
    has_next_attempt,
    is_dead,
    reason_of_death,
)

PATH = Path(__file__).parent.parent / "docs" / "lifecycle.md"

#: What a status is derived from, in the order in which it is asked.
DECIDING = ("cancelled_at", "reserved_at", "started_at", "finished_at", "failure_reason")

#: Attempt, `max_attempts`, losses so far, `allowed_losses`.
CASES = ((1, 1, 0, 3), (1, 3, 0, 3), (3, 3, 0, 3), (3, 3, 1, 3), (4, 3, 1, 3))
LOSSES = ((1, 1, 1, 3), (3, 1, 3, 3), (4, 1, 4, 3), (4, 9, 4, 3), (1, 9, 1, 0))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def diagram(moves: Iterable[tuple[str, str, str]]) -> str:
    """A diagram of Mermaid: from, to, and by what."""
    lines = [f"    {before} --> {after}: {by}" for before, after, by in moves]
    return "\n".join(["```mermaid", "stateDiagram-v2", *lines, "```"])


def yes(value: bool) -> str:
    return "yes" if value else "no"


def statuses() -> str:
    return table(
        ["status", "a claim looks after it", "nothing leads out of it", "holds its unique key"],
        (
            [each.value, yes(each in LIVE), yes(each in FINAL), yes(each not in KEYLESS)]
            for each in JobStatus
        ),
    )


def derivation() -> str:
    """Which columns make which status; empty where a column makes no difference."""

    def rows(known: dict[str, object]) -> Iterator[list[str]]:
        left = DECIDING[len(known) :]
        found = {
            derive_status(**known, **dict(zip(left, values, strict=True)))
            for values in itertools.product((None, 1), repeat=len(left))
        }
        if len(found) == 1:
            said = ["null" if value is None else "set" for value in known.values()]
            yield [*said, *[""] * len(left), found.pop().value]
            return
        for value in (1, None):
            yield from rows({**known, left[0]: value})

    return table([*(f"`{name}`" for name in DECIDING), "status"], rows({}))


def moves() -> Iterator[tuple[str, str, str]]:
    yield "[*]", JobStatus.PENDING.value, "enqueue"
    for (before, after), verbs in MOVES.items():
        yield before.value, after.value, ", ".join(sorted(verbs))


def guards() -> str:
    return table(
        ["verb", "status", "afterwards", "claim token", "and"],
        (
            [
                f"`{name}`",
                before.value,
                " or ".join(after.value for after in JobStatus if after in afters),
                verb.token.value,
                verb.time,
            ]
            for name, verb in VERBS.items()
            for before, afters in verb.moves.items()
        ),
    )


def deaths() -> str:
    """Which of its times decides that a live row is dead: found by letting each pass alone."""
    past, now, future = 9, 10, 11
    says = {
        "lease_expires_at": "its lease is over",
        "deadline": "its deadline is over",
        "reserved_at": "it has been reserved for longer than `reserved_timeout`",
    }
    rows: list[list[str]] = []
    for has_token, status in itertools.product((True, False), sorted(LIVE, key=_order)):
        for passed, said in says.items():
            times = {**dict.fromkeys(says, future), passed: past}
            if is_dead(status, has_token=has_token, reserved_timeout=0, now=now, **times):
                executing = status is JobStatus.EXECUTING
                failed = f"failed, `{reason_of_death(has_token=has_token).value}`"
                owner = "m25" if has_token else "the original"
                rows.append([owner, status.value, said, failed if executing else "pending"])
    return table(["claimed by", "status", "dead once", "afterwards"], rows)


def _order(status: JobStatus) -> int:
    return list(JobStatus).index(status)


def retries() -> str:
    def cases() -> Iterator[list[str]]:
        reasons = {
            "any other": (FailureReason.CRASH, CASES),
            f"`{FailureReason.HEARTBEAT_TIMEOUT.value}`": (FailureReason.HEARTBEAT_TIMEOUT, LOSSES),
        }
        for name, (reason, numbers) in reasons.items():
            for attempt, most, losses, allowed in numbers:
                follows = has_next_attempt(
                    reason,
                    attempt=attempt,
                    max_attempts=most,
                    losses=losses,
                    allowed_losses=allowed,
                )
                yield [name, *map(str, (attempt, most, losses, allowed)), yes(follows)]

    head = ["failed with", "attempt", "`max_attempts`", "lost so far", "`allowed_losses`"]
    return table([*head, "is followed by another"], cases())


def generate() -> str:
    """The text of the page."""
    claims = [(before.value, after.value, by) for (before, after), by in CLAIM_MOVES.items()]
    started = ("[*]", claims[0][0], "claim")
    return f"""\
# The life of a job

Generated from `src/m25/_lifecycle.py`: do not edit it, run `python tools/lifecycle.py`. A test
holds this page to it; others hold to it what the statements do, the store in memory, and every
simulated history. What is not on this page cannot happen.

## A row: one attempt

{diagram(moves())}

{statuses()}

The status is not written by anyone: PostgreSQL derives it from which columns are set.

{derivation()}

## The verbs, and what each demands

A verb is a statement of `src/m25/_store/sql`. Where the row is in another status, or its token or
the time is not as demanded, the verb changes nothing. One that keeps the status renews the lease,
but for `change`, `request_cancel`, `cancel_descendants`, `report` and `send`. Anybody may have a
row locked: every verb but `cancel`, `change`, `request_cancel` and `send`, which are about one row,
leaves it out, does its work on the others, and is repeated for that row.

A job whose handler sleeps, or waits for a message, is set aside by `release`: it is pending, and
due at its time, or at the `send` of that message.

{guards()}

## What is dead

`sweep` takes a live row from an owner that is gone. A row that m25 has claimed has a claim token,
and a lease that heartbeats renew. The original's workers, which may serve the same table, know
neither.

{deaths()}

## A claim

One statement claims many rows with one token. What a process knows of it:

{diagram([started, *claims])}

While it is not confirmed, handlers may run, but no result and no heartbeat is written: the row may
not be there to be written to. Once it is fenced, nothing is written any more.

## A chain: which attempt is followed by another

The statement that fails an attempt inserts the next one, or not, by this rule. An attempt that was
lost with its process is followed by another while no more than `allowed_losses` of the chain were
lost. Any other is while the attempts that were not lost are fewer than `max_attempts`. Some cases:

{retries()}
"""


if __name__ == "__main__":
    PATH.write_text(generate(), encoding="utf-8")
