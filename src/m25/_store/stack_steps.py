"""What the calls of the store about stacks of handlers ask of a database, as steps."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from .parameters import plain_array
from .protocol import ClaimedJob, StackAnswer
from .steps import NOTIFIES, Statement, Steps, milliseconds

#: What the workers of a queue are sent where a job's stack is asked for: this, and the job's id.
STACK_ASKED: Final = "stack "


def request(id: str, channel: str, lock_wait: timedelta | None) -> Steps[str | None]:
    """See `Store.request_stack`."""
    parameters = {
        "id": id,
        "channel": channel,
        "payload": f"{STACK_ASKED}{id}",
        "lock_wait": milliseconds(lock_wait),
    }
    rows = yield Statement("request_stack", {**parameters, **NOTIFIES})
    return rows[0][0] if rows else None


def answer(claim: ClaimedJob, stack: str) -> Steps[bool]:
    """See `Store.answer_stack`."""
    parameters = {"id": plain_array([claim.id]), "claim_token": plain_array([claim.token])}
    rows = yield Statement("answer_stack", {**parameters, "stack": stack})
    return bool(rows)


def find(id: str) -> Steps[StackAnswer | None]:
    """See `Store.find_stack`."""
    rows = yield Statement("find_stack", {"id": id})
    return StackAnswer._make(rows[0]) if rows else None


def forget(id: str, asked_at: str, lock_wait: timedelta | None) -> Steps[None]:
    """See `Store.forget_stack`."""
    parameters = {"id": id, "asked_at": asked_at, "lock_wait": milliseconds(lock_wait)}
    yield Statement("forget_stack", parameters)
