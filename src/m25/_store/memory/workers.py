"""The workers of a store in memory, and the jobs that nobody may be looking after."""

from __future__ import annotations

from typing import Final

from ..._lifecycle import LIVE
from ..operator import WorkerState
from ..protocol import SILENCE, Suspect, SweptQueue, Worker
from .rows import MICROSECOND, SECOND, Row, seconds

#: How many characters of a claim's token are those of its worker's id.
_PREFIX: Final = 18
_SILENCE: Final = SILENCE // MICROSECOND


class Workers:
    """Which workers have announced themselves, and whether their sessions are there."""

    def __init__(self) -> None:
        self._has_sessions: dict[str, bool] = {}
        #: When each was heard of, and which queues it serves.
        self._heard: dict[str, tuple[int, frozenset[str]]] = {}
        #: As each has announced itself, and when it did so first.
        self._announced: dict[str, tuple[Worker, int]] = {}

    def announce(self, worker: Worker, now: int) -> None:
        """A worker says that it is there."""
        self._has_sessions[worker.id[:_PREFIX]] = True
        self._heard[worker.id] = now, frozenset(queue.name for queue in worker.queues)
        _, started_at = self._announced.get(worker.id, (worker, now))
        self._announced[worker.id] = worker, started_at

    def newer(self, worker: Worker, now: int) -> set[str]:
        """The queues that a worker runs which is there, and was started later than this one."""
        order = list(self._announced)
        later = order[order.index(worker.id) + 1 :]
        heard = [self._heard[id] for id in later if id in self._heard]
        live = [queues for heard_at, queues in heard if heard_at > now - _SILENCE]
        return set[str]().union(*live)

    def dismiss(self, worker_id: str) -> None:
        """A worker says goodbye."""
        self._has_sessions.pop(worker_id[:_PREFIX], None)
        self._heard.pop(worker_id, None)

    def served(self, since: int) -> tuple[int, set[str]]:
        """How many workers were heard of after `since`, and all queues that they serve."""
        live = [queues for heard_at, queues in self._heard.values() if heard_at > since]
        return len(live), set[str]().union(*live)

    def serving(self, queue_name: str, since: int) -> int:
        """How many workers that serve a queue were heard of after `since`."""
        return sum(
            heard_at > since and queue_name in queues for heard_at, queues in self._heard.values()
        )

    def states(self, now: int, since: int) -> list[WorkerState]:
        """Those that were heard of after `since`, in the order in which they came."""
        return [
            WorkerState(
                worker.id,
                worker.version,
                [queue.name for queue in worker.queues],
                seconds(started_at),
                (now - self._heard[worker.id][0]) / SECOND,
            )
            for worker, started_at in self._announced.values()
            if worker.id in self._heard and self._heard[worker.id][0] > since
        ]

    def end_sessions(self, worker_id: str) -> None:
        """A worker's process is gone, and so are its sessions."""
        if worker_id[:_PREFIX] in self._has_sessions:
            self._has_sessions[worker_id[:_PREFIX]] = False

    def suspect(self, row: Row, queue: SweptQueue, now: int) -> Suspect | None:
        """A live row as a suspect, if it is one."""
        token = row.claim_token
        is_expired = row.is_dead(queue, now)
        is_abandoned = token is not None and self._has_sessions.get(token[:_PREFIX]) is False
        is_nearly = token is not None and row.is_dead(queue, now + queue.margin // MICROSECOND)
        if not (is_expired or is_abandoned or is_nearly):
            return None
        given = (row.reserved_at, row.started_at, row.latest_heartbeat_at)
        given_at = max((each for each in given if each is not None), default=0)
        length = 0 if row.lease_expires_at is None else row.lease_expires_at - given_at
        return Suspect(
            row.queue_name,
            row.id,
            token,
            _lease(row),
            is_expired,
            is_abandoned,
            length / SECOND,
            row.job_id if row.has_children else None,
            self._heard_at(token) if is_abandoned else None,
        )

    def _heard_at(self, token: str | None) -> str | None:
        """When the worker of a claim has announced itself last."""
        for worker_id, (heard_at, _) in self._heard.items():
            if token is not None and token.startswith(worker_id[:_PREFIX]):
                return seconds(heard_at)
        return None


def is_as_seen(row: Row, suspect: Suspect) -> bool:
    """Whether a row's claim and lease are still those that were seen."""
    return (
        row.status in LIVE
        and row.claim_token == suspect.token
        and _lease(row) == suspect.lease_expires_at
        and bool(row.has_children) == (suspect.children_of is not None)
    )


def _lease(row: Row) -> str | None:
    return None if row.lease_expires_at is None else seconds(row.lease_expires_at)
