"""What a pending job waits for, in words."""

from __future__ import annotations

from collections.abc import Iterator

from ._store.operator import JobWait
from ._summaries import WOKEN, time_of


def words_of(queue_name: str, wait: JobWait) -> Iterator[str]:
    """All that must have come before a worker may begin a job; what nobody can know is left out.

    Each is a part of a sentence: "waits for a message 'answer'".
    """
    waits_for = list(_before_its_turn(wait))
    yield from waits_for
    if wait.is_paused:
        why = "" if wait.pause_reason is None else f": {wait.pause_reason}"
        yield f"its queue to be resumed, which is paused{why}"
    elif not wait.workers:
        yield f"a worker: none serves queue {queue_name!r}"
    elif wait.is_due and not waits_for:
        yield from _turn(wait)


def is_declared(wait: JobWait) -> bool:
    """Whether a job waits for others, or for a time, as its queue's options or it itself say."""
    return (
        any(_before_its_turn(wait))
        or wait.is_paused
        or _is_full(wait)
        or wait.next_start_at is not None
    )


def _before_its_turn(wait: JobWait) -> Iterator[str]:
    """What keeps a job from being due, and from being the next of its key."""
    if wait.awaits is not None:
        yield f"a message {wait.awaits!r}"
    if wait.follows is not None:
        yield f"the end of job {wait.follows}, which it follows"
    if wait.failed_before is not None:
        yield (
            f"job {wait.failed_before} of key {wait.order_key!r}, which has failed for good, to be"
            " retried, skipped or deleted"
        )
    elif wait.before is not None:
        yield f"job {wait.before}, which comes before it of key {wait.order_key!r}"
    if wait.is_held_up:
        yield from _under_limit(wait) if _is_full(wait) else _by_rate(wait)
    due_at = time_of(wait.due_at)
    if not wait.is_due and due_at.year < WOKEN:
        yield f"its time, {due_at:%Y-%m-%d %H:%M:%S} UTC"


def _turn(wait: JobWait) -> Iterator[str]:
    """What keeps a job that is due."""
    if wait.setup_failures:
        yield f"its queue's setup, which has failed for it {_times(wait.setup_failures)}"
    elif _is_full(wait):
        yield from _under_limit(wait)
    elif wait.next_start_at is not None:
        yield from _by_rate(wait)
    else:
        serve = "1 worker serves" if wait.workers == 1 else f"{wait.workers} workers serve"
        yield f"a slot: {serve} the queue"


def _is_full(wait: JobWait) -> bool:
    running = wait.running
    return wait.size is not None and running is not None and running + wait.held >= wait.size


def _under_limit(wait: JobWait) -> Iterator[str]:
    run = "1 runs" if wait.running == 1 else f"{wait.running} run"
    of = "" if wait.key is None else f"of key {wait.key!r} "
    held = f" and {wait.held} held outside of jobs" if wait.held else ""
    yield f"room under limit {wait.limiter!r}: {of}{run}{held}, as many as may"


def _by_rate(wait: JobWait) -> Iterator[str]:
    of = "" if wait.key is None else f" of key {wait.key!r}"
    when = ""
    if wait.next_start_at is not None:
        when = f": none begins before {time_of(wait.next_start_at):%Y-%m-%d %H:%M:%S} UTC"
    yield f"a turn{of} by rate {wait.limiter!r}{when}"


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"
