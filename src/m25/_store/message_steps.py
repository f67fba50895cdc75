"""What the calls of the store about messages to jobs ask of a database, as steps."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from .parameters import array, interval, plain_array
from .protocol import (
    ClaimedJob,
    Fenced,
    Kept,
    Locked,
    NewMessage,
    NewReceive,
    NoMessage,
    Sent,
    StepRow,
)
from .steps import NOTIFIES, Statement, Steps, find_locked, milliseconds


def receive(wanted: Sequence[NewReceive]) -> Steps[list[Kept | NoMessage | Locked | Fenced]]:
    """See `Store.receive`."""
    parameters = {
        "id": plain_array(one.id for one in wanted),
        "claim_token": plain_array(one.token for one in wanted),
        "job_id": plain_array(one.job_id for one in wanted),
        "name": array(one.name for one in wanted),
        "key": array(one.key for one in wanted),
        "timeout": array(None if one.timeout is None else interval(one.timeout) for one in wanted),
    }
    rows = yield Statement("receive", parameters)
    answers: dict[int, Kept | NoMessage | Locked | Fenced] = {}
    number: int
    for number, is_held, is_stale, is_new, messages, kind, *row in rows:
        step = None if kind is None else StepRow(kind, *row)
        if is_stale:
            # rule: what a lost call has received is looked at again
            answers[number] = Locked(wanted[number - 1].id)
        elif is_held and step is not None and step.output is not None:
            answers[number] = Kept(step, is_new)
        elif is_held:
            answers[number] = NoMessage(step, messages)
    others = [ClaimedJob(one.id, one.token) for one in wanted]
    held = {one.id for number, one in enumerate(wanted, 1) if number in answers}
    locked = yield from find_locked(others, held)
    for number, one in enumerate(wanted, 1):
        if number not in answers:
            answers[number] = Locked(one.id) if one.id in locked else Fenced(one.id)
    return [answers[number] for number in range(1, len(wanted) + 1)]


def send(
    message: NewMessage, queue_name: str, channel: str, lock_wait: timedelta | None
) -> Steps[Sent]:
    """See `Store.send`."""
    parameters = {
        **message._asdict(),
        "queue_name": queue_name,
        "channel": channel,
        "lock_wait": milliseconds(lock_wait),
    }
    rows = yield Statement("send", {**parameters, **NOTIFIES}, is_awaited=True)
    for is_sent, is_woken, is_repeated, _ in rows:
        if is_sent:
            return Sent.WOKEN if is_woken else Sent.SENT
        if is_repeated:
            return Sent.REPEATED
    return Sent.NOT_LIVE
