"""Messages to jobs, in memory."""

from __future__ import annotations

import attrs

from ..protocol import NewMessage


@attrs.define
class Message:
    """One message, in the order of its job's."""

    key: str
    name: str
    value: str
    created_at: int
    is_received: bool = False


class Messages:
    """The messages to all jobs."""

    def __init__(self) -> None:
        #: By the id of a job's first attempt.
        self._sent: dict[str, list[Message]] = {}

    def forget(self, job_id: str) -> None:
        """The job is gone."""
        self._sent.pop(job_id, None)

    def has(self, job_id: str, key: str) -> bool:
        """Whether a message was sent before."""
        return any(each.key == key for each in self._sent.get(job_id, ()))

    def send(self, job_id: str, message: NewMessage, now: int) -> None:
        """Send a message to a job."""
        new = Message(message.key, message.name, message.value, now)
        self._sent.setdefault(job_id, []).append(new)

    def receive(self, job_id: str, name: str, before: int | None) -> str | None:
        """The value of the oldest message of a name that was sent before that time, if any."""
        for each in self._sent.get(job_id, ()):
            if each.name == name and not each.is_received:
                if before is not None and each.created_at >= before:
                    return None
                each.is_received = True
                return each.value
        return None
