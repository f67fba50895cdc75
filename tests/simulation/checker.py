"""Finds what was promised and not kept, from the rows at the end and what the handlers saw.

The numbers are those of the invariants in the documentation of the guarantees.
"""

from __future__ import annotations

import json
import math
import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from types import MappingProxyType

import attrs

from m25._lifecycle import FINAL, FailureReason, derive_status, has_next_attempt
from m25._retry import Exponential
from m25._store.protocol import JobRow
from m25._timestamps import timestamp_from_text

_FINAL = {status.value for status in FINAL}


@attrs.define(eq=False)
class Run:
    """One run of a handler."""

    #: Its output, if it has one.
    number: int | str
    job_id: str
    attempt: int
    process: str
    began: datetime
    #: Not before then, by its row.
    run_at: datetime
    #: Of its claim.
    token: str
    #: How it ended of its own accord; `None` if it was cut short.
    ended: str | None = None
    #: When it returned.
    returned: datetime | None = None
    #: In how many seconds it asked to be tried again, if it did.
    asked: float | None = None
    gave_up: bool = False
    #: Whether it has put its job off.
    put_off: bool = False


@attrs.frozen
class End:
    """What somebody was told who waited for a job."""

    #: The id that was waited for.
    asked: str
    #: The attempt that was returned, and its status.
    id: str
    status: str


@attrs.frozen
class Asked:
    """That the cancel of a row was acknowledged."""

    at: datetime
    #: Of the claim that the row had then, if it was claimed.
    token: str | None


def violations(
    rows: Sequence[JobRow],
    runs: Sequence[Run],
    acknowledged: set[str],
    cancelled: set[str],
    tokens: Mapping[str, str | None],
    asked: Mapping[str, Asked] = MappingProxyType({}),
    *,
    allowed_losses: int = 3,
    backoff: Exponential | None = None,
) -> list[str]:
    """Every violation, each with the job that shows it; `tokens` are the rows' at the end.

    `backoff` is what the queues declare for jobs without numbers of their own.
    """
    by_id = {row.id: row for row in rows}
    by_job: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        by_job[run.job_id].append(run)
    problems = [f"1: {id} was acknowledged, and is lost" for id in acknowledged - by_id.keys()]
    for row in rows:
        problems += _row_problems(row, by_job[row.id], tokens.get(row.id))
    problems += [
        f"2: {row.id} was cancelled, the caller was told, and it is {row.status}"
        for row in rows
        if row.id in cancelled and row.status != "cancelled"
    ]
    # By row, the run whose outcome it has, if one that had its claim has ended.
    last = {run.job_id: run for run in runs if run.ended and run.token == tokens.get(run.job_id)}
    put_off = {run.job_id for run in runs if run.put_off}
    problems += _chain_problems(rows, by_id, last, put_off, allowed_losses, backoff)
    problems += _failure_problems(rows)
    problems += _cancel_problems(rows, by_job, asked)
    problems += [
        f"7: {run.job_id} began at {run.began}, before {run.run_at}"
        for run in runs
        if run.began < run.run_at
    ]
    return problems


def lock_violations(
    rows: Sequence[JobRow], runs: Sequence[Run], locked: AbstractSet[str], *, longest: float = 1.0
) -> list[str]:
    """Where nothing happens but that strangers lock rows: no other job is lost, or written late."""
    by_id = {row.id: row for row in rows}
    problems = [
        f"10: {row.id} was lost, and nobody had it locked"
        for row in rows
        if row.failure_reason == "heartbeat_timeout" and row.id not in locked
    ]
    for run in runs:
        finished_at = by_id[run.job_id].finished_at
        if run.returned is None or run.job_id in locked or finished_at is None:
            continue
        late = (timestamp_from_text(finished_at) - run.returned).total_seconds()
        if late > longest:
            problems.append(f"10: the result of {run.job_id} was written {late} s late")
    return problems


def wait_violations(
    rows: Sequence[JobRow], waited_for: Sequence[str], ends: Sequence[End]
) -> list[str]:
    """Whoever waits is told once, and of the end of the chain: the attempt that none follows."""
    by_id = {row.id: row for row in rows}
    latest = {row.original_attempt_id or row.id: row for row in rows if row.attempt == 1}
    for row in rows:
        first = row.original_attempt_id or row.id
        if row.attempt > latest[first].attempt:
            latest[first] = row
    told: dict[str, list[End]] = defaultdict(list)
    for end in ends:
        told[end.asked].append(end)
    problems: list[str] = []
    for id in waited_for:
        row = by_id[id]
        last = latest[row.original_attempt_id or row.id]
        if told[id] != [End(id, last.id, last.status)]:
            problems.append(f"11: {id} ended as {last.id}, {last.status}; told was {told[id]}")
    return problems


def _row_problems(row: JobRow, runs: Sequence[Run], token: str | None) -> list[str]:
    problems: list[str] = []
    if row.status not in _FINAL:
        problems.append(f"2: {row.id} is {row.status} at the end")
    derived = derive_status(
        cancelled_at=row.cancelled_at,
        reserved_at=row.reserved_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        failure_reason=row.failure_reason,
    )
    if row.status != derived.value:
        problems.append(f"2: {row.id} is {row.status}, and by its columns {derived.value}")
    if row.cancelled_at is not None:
        # It may have run before, and been handed back.
        cancelled_at = timestamp_from_text(row.cancelled_at)
        if any(run.began > cancelled_at for run in runs):
            problems.append(f"2: {row.id} was cancelled, and ran")
    if row.status == "succeeded":
        if row.output is None or row.failure_reason is not None or row.finished_at is None:
            problems.append(f"2: {row.id} succeeded with {row}")
        elif not any(f'"{run.number}"' == row.output and run.ended == "succeeded" for run in runs):
            problems.append(f"3: {row.id} has the output {row.output} of no run that succeeded")
        elif not any(f'"{run.number}"' == row.output and run.token == token for run in runs):
            problems.append(f"3: {row.id} has the output {row.output} of a run that lost its claim")
    if row.failure_reason in ("error", "crash") and not any(
        run.ended == row.failure_reason and run.token == token for run in runs
    ):
        problems.append(
            f"3: {row.id} failed by {row.failure_reason}, and no run that had its claim did"
        )
    return problems


def _cancel_problems(
    rows: Sequence[JobRow], runs: Mapping[str, Sequence[Run]], asked: Mapping[str, Asked]
) -> list[str]:
    """Where a job went on whose cancel was acknowledged."""
    problems = [
        f"14: {row.id} follows an attempt whose cancel was acknowledged"
        for row in rows
        if row.previous_attempt_id in asked
    ]
    for id, each in asked.items():
        problems += [
            f"14: {id} began at {run.began} by another claim, its cancel acknowledged at {each.at}"
            for run in runs[id]
            if run.began > each.at and run.token != each.token
        ]
    return problems


def _delay(previous: JobRow, run: Run | None, backoff: Exponential | None) -> float:
    """In how many seconds the next attempt is to follow this one."""
    if previous.failure_reason == "heartbeat_timeout":
        # What was lost with its process is followed at once.
        return 0.0
    if run is not None and run.asked is not None and previous.failure_reason == "crash":
        return run.asked
    if previous.own_retry or backoff is None:
        return float(previous.retry_delay)
    counted = previous.attempt - previous.losses
    return backoff.after(counted, random.Random(0)).total_seconds()


def _failure_problems(rows: Sequence[JobRow]) -> list[str]:
    """Of each chain that has failed one job tells, and of no other, where its queue asks for it."""
    followed = {row.previous_attempt_id for row in rows}
    failed = Counter(
        row.original_attempt_id or row.id
        for row in rows
        if row.queue_name == "plain" and row.status == "failed" and row.id not in followed
    )
    told = Counter(
        json.loads(row.input)["job_id"]
        for row in rows
        if row.queue_name == "alerts" and row.attempt == 1
    )
    return [
        f"4: {id} has failed {failed[id]} times, and was told {told[id]} times"
        for id in {*failed, *told}
        if failed[id] != told[id]
    ]


def _chain_problems(
    rows: Sequence[JobRow],
    by_id: Mapping[str, JobRow],
    last: Mapping[str, Run],
    put_off: AbstractSet[str],
    allowed_losses: int,
    backoff: Exponential | None,
) -> list[str]:
    problems: list[str] = []
    followers: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        if row.previous_attempt_id is None:
            if row.attempt != 1 or row.original_attempt_id is not None:
                problems.append(f"4: {row.id} begins a chain as attempt {row.attempt}")
            continue
        followers[row.previous_attempt_id].append(row.id)
        previous = by_id.get(row.previous_attempt_id)
        if previous is None or previous.attempt + 1 != row.attempt:
            problems.append(f"4: {row.id} is attempt {row.attempt}, and does not follow its own")
            continue
        if row.original_attempt_id != (previous.original_attempt_id or previous.id):
            problems.append(f"4: {row.id} names another first attempt than its chain's")
        if row.input != previous.input or row.unique_key != previous.unique_key:
            problems.append(f"4: {row.id} is of another input or key than its chain's")
        if previous.status != "failed":
            problems.append(f"4: {row.id} follows {previous.id}, which is {previous.status}")
        elif row.scheduled_at is not None and previous.finished_at is not None:
            delay = float(row.scheduled_at) - float(previous.finished_at)
            asked = _delay(previous, last.get(previous.id), backoff)
            # It may have been put off since.
            late = math.inf if row.id in put_off else 1e-3
            if previous.failure_reason == "heartbeat_timeout" and previous.losses > 1:
                # What is lost together again goes on one after the other: `seconds_apart`.
                late = max(late, 60 + 1e-3)
            if not -1e-3 < delay - asked < late:
                problems.append(f"7: {row.id} follows after {delay} s, not {asked}")
    problems += [
        f"4: {id} is followed by {sorted(each)}" for id, each in followers.items() if len(each) > 1
    ]
    for row in rows:
        if row.failure_reason is None:
            continue
        follows = has_next_attempt(
            FailureReason(row.failure_reason),
            attempt=row.attempt,
            max_attempts=row.max_attempts,
            losses=row.losses,
            allowed_losses=allowed_losses,
        )
        # What is to be cancelled is not tried again, nor what was given up.
        run = last.get(row.id)
        gave_up = run is not None and run.gave_up and row.failure_reason == run.ended
        follows = follows and row.cancel_requested_at is None and not gave_up
        if follows and row.id not in followers:
            problems.append(f"4: {row.id} failed, has attempts left, and none follows")
        if not follows and row.id in followers:
            problems.append(f"4: {row.id} failed, has no attempt left, and one follows")
    return problems
