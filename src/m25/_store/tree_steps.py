"""What the calls of the store about jobs of jobs ask of a database, as steps.

A tree is a job with what it has started, and so on down. Whatever ends its top ends the rest of it
in the same transaction: each of these calls is steps of `Calls`, followed by those that cancel what
is below. Jobs that have started none never come here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import timedelta
from typing import Final, TypeVar

from .failures import FailureKind, StatementFailed
from .parameters import array, plain_array
from .protocol import (
    ClaimedJob,
    Descendant,
    Descendants,
    Enqueued,
    Exists,
    Held,
    JobRow,
    Locked,
    NewChild,
    Outcome,
    Refused,
    Release,
    Suspect,
    Swept,
    SweptQueue,
    WriteResult,
    Written,
)
from .steps import (
    NOTIFIES,
    TRIES,
    Calls,
    Statement,
    Steps,
    find_locked,
    given_arrays,
    milliseconds,
    without_repeats,
)

#: Why what is below a job is cancelled that has ended.
ENDED_ABOVE: Final = "the job that had started it, or one above that, has ended"

T = TypeVar("T")


class TreeLocked(StatementFailed):
    """Somebody has locked a row below a job that is to end: what was done is to be undone."""

    def __init__(self) -> None:
        super().__init__(
            FailureKind.DATABASE,
            "cancel_descendants",
            "a job below the one that is to end is locked by another transaction",
        )

    @property
    def waits_for_lock(self) -> bool:
        """Whoever asks is to wait, and to try again."""
        return True

    @property
    def spoils_session(self) -> bool:
        """The transaction was rolled back, and nothing else has happened."""
        return False


class TreeCalls:
    """The calls of the store that are about jobs and what they have started."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def start_children(
        self, children: Sequence[NewChild], notify: Sequence[str], lock_wait: timedelta | None
    ) -> Steps[list[Enqueued | Exists | Held | Locked | Refused]]:
        """Insert jobs under the claims of those that start them."""
        answers: dict[int, Enqueued | Exists | Held | Locked | Refused] = {}
        left = {at: child.job for at, child in enumerate(children)}
        for _ in range(TRIES):
            first = without_repeats(left)
            parents = [children[at].parent for at in first]
            parameters = given_arrays(list(first.values()))
            parameters["parent_attempt_id"] = plain_array(parent.id for parent in parents)
            parameters["parent_token"] = plain_array(parent.token for parent in parents)
            parameters["nursery"] = array(children[at].nursery for at in first)
            parameters["channels"] = self._calls.channels(notify)
            parameters["lock_wait"] = milliseconds(lock_wait)
            rows = yield Statement("start_children", parameters, is_awaited=True)
            created = {id: created_at for id, created_at, _, _ in rows}
            answers.update(
                (at, Enqueued(created[job.id])) for at, job in first.items() if job.id in created
            )
            left = {at: job for at, job in left.items() if at not in answers}
            if not left:
                break
            answers.update((yield from self._calls.find_taken(left)))
            left = {at: job for at, job in left.items() if at not in answers}
            locked = yield from self._find_locked({children[at].parent for at in left})
            for at in [at for at in left if at in first]:
                # Not there, and no key of it is held: so its parent was not to be had.
                parent = children[at].parent
                answers[at] = Locked(parent.id) if parent.id in locked else Refused()
                del left[at]
            if not left:
                break
        return [answers.get(at, Locked(child.parent.id)) for at, child in enumerate(children)]

    def _find_locked(self, parents: Collection[ClaimedJob]) -> Steps[set[str]]:
        """Of parents that start nothing now, the ids of those that may once nobody locks them."""
        claims = list(parents)
        if not claims:
            return set()
        locked = yield from find_locked(claims, frozenset())
        requests = yield from self._calls.find_cancel_requests(claims)
        return locked - {request.id for request in requests}

    def live_children(self, parent_id: str, nursery: str) -> Steps[set[str]]:
        """Which jobs have not ended of those that a job has started in a nursery."""
        rows = yield Statement("live_children", {"parent_id": parent_id, "nursery": nursery})
        return {id for (id,) in rows}

    def cancel_descendants(
        self,
        parents: Sequence[str],
        ids: Sequence[str] = (),
        by: str | None = None,
        reason: str | None = None,
        holder: ClaimedJob | None = None,
    ) -> Steps[Descendants]:
        """Cancel what is below jobs, until nothing is left, or nothing but what is locked."""
        parameters = {
            "holder_id": None if holder is None else holder.id,
            "holder_token": None if holder is None else holder.token,
            "parent_id": plain_array(parents),
            "id": plain_array(ids),
            "by": by,
            "reason": reason,
            **NOTIFIES,
        }
        reached: list[Descendant] = []
        while True:
            rows = yield Statement("cancel_descendants", parameters)
            now = [Descendant._make(row[:-1]) for row in rows if row[1] is not None]
            reached += now
            # rule: a tree's cancel is repeated until nothing is left
            if not now:
                return Descendants(tuple(reached), is_unfinished=bool(rows))

    # With the end of the job at the top, in one transaction

    def cancel(
        self,
        id: str,
        queue_name: str,
        by: str | None,
        reason: str | None,
        lock_wait: timedelta | None,
    ) -> Steps[JobRow | None]:
        """Cancel a pending job that has started others, with all below it."""
        row = yield from self._calls.cancel(
            id, queue_name, by, reason, lock_wait, with_children=True
        )
        if row is not None:
            yield from self._end([row.job_id], by, reason)
        return row

    def settle(
        self, outcomes: Sequence[Outcome], allowed_losses: int
    ) -> Steps[dict[str, WriteResult]]:
        """End attempts of jobs that have started others."""
        results = yield from self._calls.settle(outcomes, allowed_losses)
        yield from self._end(
            one.children_of
            for one in outcomes
            if one.children_of is not None
            and (result := results.get(one.id)) is not None
            and result.ends_chain
        )
        return results

    def release(self, releases: Sequence[Release], notify: Sequence[str]) -> Steps[Written]:
        """Release jobs that have started others."""
        written = yield from self._calls.release(releases, notify)
        yield from self._end(
            one.children_of
            for one in releases
            if one.children_of is not None and one.id in written.to_cancel
        )
        return written

    def sweep(
        self, queues: Sequence[SweptQueue], suspects: Sequence[Suspect]
    ) -> Steps[list[Swept]]:
        """Sweep jobs that have started others."""
        swept = yield from self._calls.sweep(queues, suspects)
        ended = {job.id for job in swept if job.ends_chain}
        yield from self._end(one.children_of for one in suspects if one.id in ended)
        return swept

    def _end(
        self, jobs: Iterable[str | None], by: str | None = None, reason: str | None = ENDED_ABOVE
    ) -> Steps[None]:
        """Cancel what is below jobs that have just ended.

        Raises:
            TreeLocked: somebody has locked a part of it.
        """
        parents = [job for job in jobs if job is not None]
        if parents:
            done = yield from self.cancel_descendants(parents, (), by, reason)
            if done.is_unfinished:
                raise TreeLocked  # rule: a job does not end before what it has started


def in_silence(steps: Steps[T]) -> Steps[T]:
    """The same steps, but that nobody is notified."""
    statement = next(steps)
    while True:
        if "notifies" in statement.parameters:
            parameters = {**statement.parameters, "notifies": "false"}
            statement = statement._replace(parameters=parameters)
        rows = yield statement
        try:
            statement = steps.send(rows)
        except StopIteration as done:
            answer: T = done.value
            return answer
