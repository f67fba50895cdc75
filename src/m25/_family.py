"""Whose jobs a nursery of jobs starts: a job's, which is durable, or a client's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, Protocol

import trio

from ._child_ids import child_id
from ._children import Children, NewOne, has_come_to_nothing
from ._errors import UsageError
from ._handler import sort_raised
from ._outer_cancel import OuterCancel
from ._running_job import Attempt
from ._step_names import check_name
from ._store.protocol import JobRow, NewJob
from ._within_step import prefix, step_call

#: How long a nursery of a client waits for its jobs once it was cancelled, in seconds.
_GRACE_OF_CLIENT: Final = 10.0
#: How much of its `cancel_grace` a handler waits for its jobs, and how much of the time that an
#: attempt has to end after its deadline: the rest is for what comes after.
_PART_OF_GRACE: Final = 0.8


def left(why: str) -> str:
    """The reason of the cancel of a job whose nursery is left."""
    return f"its nursery is left: {why}"


class Family(Protocol):
    """Whose jobs a nursery starts."""

    @property
    def grace(self) -> float:
        """How long a nursery waits for its jobs once it is cancelled from outside, in seconds."""
        ...

    @property
    def is_repeated(self) -> bool:
        """Whether an earlier run may have started jobs in the nursery."""
        ...

    def open(self) -> None:
        """The block begins."""
        ...

    def close(self) -> None:
        """The block has ended."""
        ...

    def ids(self, key: str, number: int) -> Sequence[str]:
        """The ids that a job may have, the one that it is started with last.

        Raises:
            UsageError: it cannot be started from here.
        """
        ...

    def detached_ids(self, key: str, number: int) -> Sequence[str]:
        """The same of a job that is not waited for: there is one."""
        ...

    async def find(self, news: Sequence[NewOne]) -> list[tuple[str, JobRow | None]]:
        """The id of each, and its latest attempt where it was started before."""
        ...

    def new_job(self, new: NewOne) -> NewJob:
        """The row of a job that is to be started."""
        ...

    async def insert(self, jobs: Sequence[NewJob]) -> None:
        """Start jobs."""
        ...

    async def insert_detached(self, jobs: Sequence[NewJob]) -> None:
        """Put jobs on their queues that are not waited for."""
        ...

    async def cancel(self, ids: Collection[str], reason: str) -> None:
        """Cancel jobs that were started, with all that is below them."""
        ...

    async def end_others(self, found: Collection[str]) -> None:
        """Cancel all else that earlier runs have started in the nursery, and wait for it."""
        ...

    async def wait_for_own_cancel(self) -> None:
        """Wait for the cancellation of whoever has started the jobs, if it is on its way."""
        ...

    async def leaves_children(self, error: BaseException) -> bool:
        """Whether what was started is to go on, although this was raised in the block."""
        ...


class NurseryNames:
    """The names of the nurseries that one attempt opens: those that its handler gives, and the
    number of each that has none.
    """

    def __init__(self) -> None:
        #: How many have no name, outside of steps and in each step.
        self._counts = Counter[str]()
        self._given: set[str] = set()

    def new(self, name: str | None) -> str:
        """The name of one that is opened now.

        Raises:
            UsageError: another one has the name.
            ValueError: the name is empty, longer than 250 characters, or no text.
        """
        if name is not None:
            check_name(name, "a nursery's name")
            if name in self._given:
                raise UsageError(
                    f"this job has opened a nursery named {name!r}; give each a name of its own"
                )
            self._given.add(name)
            return f"={name}"
        within = prefix()
        self._counts[within] += 1
        return f"#{within}{self._counts[within] - 1}"


class FamilyOfJob:
    """The jobs that a job has started, in any attempt.

    An incarnation is what the attempts are between two failures that count: an attempt that was
    lost, cut short or put off goes on in the next one.
    """

    def __init__(self, children: Children, attempt: Attempt, nursery: str) -> None:
        row = attempt.row
        self._nursery = nursery
        self._children = children
        self._attempt = attempt
        self._step = step_call()
        self._outside = OuterCancel()
        self._job_id = row.job_id
        self._incarnation = row.attempt - row.losses - 1
        #: Whether an earlier attempt, or an earlier run of this one, may have started some.
        self.is_repeated: Final = bool(row.has_children)

    @property
    def grace(self) -> float:
        """A part of what the handler has."""
        return self._attempt.grace * _PART_OF_GRACE

    def open(self) -> None:
        """Know from now on what is around the attempt, which cannot be set aside meanwhile."""
        self._attempt.open_nurseries += 1
        self._outside.begin(self._attempt)

    def close(self) -> None:
        """Know no more."""
        self._attempt.open_nurseries -= 1
        self._outside.end()

    def ids(self, key: str, number: int) -> Sequence[str]:
        """One for each incarnation so far; a job's first run looks for none."""
        self._refuse_in_other_step()
        first = 0 if self.is_repeated else self._incarnation
        return [
            child_id(self._job_id, self._nursery, key, number, incarnation)
            for incarnation in range(first, self._incarnation + 1)
        ]

    def detached_ids(self, key: str, number: int) -> Sequence[str]:
        """The same in every incarnation: it is started once."""
        self._refuse_in_other_step()
        return [child_id(self._job_id, self._nursery, f"detached {key}", number, 0)]

    def _refuse_in_other_step(self) -> None:
        if step_call() is not self._step:
            raise UsageError(
                "start_job() cannot be called within a step on a nursery that was opened outside of"
                " it: once the step is kept its function is not called again, and the nursery would"
                " not know of the job; open a nursery within the step, or start the job after it"
            )

    async def find(self, news: Sequence[NewOne]) -> list[tuple[str, JobRow | None]]:
        """Find what was started before, whether it is under way or has ended.

        What has failed, or was cancelled, in an earlier incarnation is to be started anew: else no
        next attempt could ever succeed.
        """
        rows = await self._children.find(news) if self.is_repeated else {}
        return [_latest_of(new, rows) for new in news]

    def new_job(self, new: NewOne) -> NewJob:
        """A row that names its parent."""
        return self._children.new_job(new, self._job_id)

    async def insert(self, jobs: Sequence[NewJob]) -> None:
        """Start jobs under the attempt's claim."""
        await self._children.start(self._attempt, self._nursery, jobs)

    async def insert_detached(self, jobs: Sequence[NewJob]) -> None:
        """The next attempt finds them by their ids."""
        await self._children.insert(jobs, outlasts_outages=True)

    async def cancel(self, ids: Collection[str], reason: str) -> None:
        """Cancel jobs under the attempt's claim."""
        await self._children.cancel(ids, reason, self._attempt.job)

    async def end_others(self, found: Collection[str]) -> None:
        """Those that this run has not come to, or does not start any more."""
        if not self.is_repeated:
            await trio.lowlevel.checkpoint()
            return
        reason = left("the job that had started it has not asked for it again")
        await self._children.end_others(self._attempt, self._nursery, found, reason)

    async def wait_for_own_cancel(self) -> None:
        """The database knows of it before it knows of any cancel below."""
        await self._children.wait_for_own_cancel(self._attempt)

    async def leaves_children(self, error: BaseException) -> bool:
        """Where the attempt is lost or cut short, the next one finds what this one has started."""
        return (
            self._attempt.leaves_children
            or sort_raised(error).is_interrupt
            or await self._outside.is_cancelled()  # rule: a stop leaves what was started
        )


def _latest_of(new: NewOne, rows: Mapping[str, JobRow]) -> tuple[str, JobRow | None]:
    *earlier, present = new.ids
    if present in rows:
        return present, rows[present]
    for id in reversed(earlier):
        if id in rows:
            # rule: what has failed with its parent is started anew
            return (present, None) if has_come_to_nothing(rows[id]) else (id, rows[id])
    return present, None


class FamilyOfClient:
    """The jobs that a client has started by itself: they end with its block."""

    grace = _GRACE_OF_CLIENT
    is_repeated = False

    def __init__(self, children: Children, make_id: Callable[[], str]) -> None:
        self._children = children
        self._make_id = make_id

    def open(self) -> None:
        """Nothing is to be done."""

    def close(self) -> None:
        """Nothing is to be done."""

    def ids(self, key: str, number: int) -> Sequence[str]:  # noqa: ARG002
        """A new one."""
        return [self._make_id()]

    def detached_ids(self, key: str, number: int) -> Sequence[str]:
        """A new one."""
        return self.ids(key, number)

    async def find(self, news: Sequence[NewOne]) -> list[tuple[str, JobRow | None]]:
        """Nothing was started before."""
        await trio.lowlevel.checkpoint()
        return [(new.ids[-1], None) for new in news]

    def new_job(self, new: NewOne) -> NewJob:
        """A row like any other."""
        return self._children.new_job(new)

    async def insert(self, jobs: Sequence[NewJob]) -> None:
        """Put jobs on their queues."""
        await self._children.insert(jobs)

    async def insert_detached(self, jobs: Sequence[NewJob]) -> None:
        """As those that are waited for."""
        await self._children.insert(jobs)

    async def cancel(self, ids: Collection[str], reason: str) -> None:
        """Cancel jobs."""
        await self._children.cancel(ids, reason)

    async def end_others(self, found: Collection[str]) -> None:  # noqa: ARG002
        """There are none."""
        await trio.lowlevel.checkpoint()

    async def wait_for_own_cancel(self) -> None:
        """It does not come from the database."""

    async def leaves_children(self, error: BaseException) -> bool:  # noqa: ARG002
        """Nobody would find them."""
        await trio.lowlevel.cancel_shielded_checkpoint()
        return False
