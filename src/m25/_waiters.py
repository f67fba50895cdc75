"""Waits for the ends of jobs: one connection listens for all, and one statement asks for all.

Whoever waits for a job registers it here. From then on its end is notified to this process, by a
channel of its own, and a notified job is asked for. A notification is a hint, and may be missing:
there may be a pooler in between, and the workers of the original m25 send none. So now and then
all jobs are asked for that somebody waits for, some hundreds in one statement.

At most one statement is under way, and the next is for all that came meanwhile. It is `watch` where
the end of a job would not be notified yet, and else `latest`, which only reads. A role that may not
write into the job's row has `latest` alone: it waits by polling, but for jobs that it has called.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import Any, Final
from uuid import uuid4

import attrs
import trio

from ._base_queue import BaseQueue
from ._job import JobId
from ._lifecycle import FINAL_VALUES
from ._runtime import Runtime
from ._store.failures import StatementFailed
from ._store.protocol import JobRow, Watched
from ._supervisor import keep_running
from .pg._backoff import Backoff
from .pg._wakeup import Wakeup

#: How many jobs one statement asks for at most.
_LARGEST_BATCH: Final = 1000
#: How long listening goes on once nobody waits any more, in seconds: most who wait, wait again.
_LONGEST_IDLE: Final = 60.0
#: How often jobs are asked for whose progress somebody follows, in seconds.
_PROGRESS_INTERVAL: Final = 1.0
#: After how long a job is asked for again that could not be watched, in seconds.
_FIRST_RETRY: Final = 0.05
_LONGEST_RETRY: Final = 2.0


@attrs.define(eq=False)
class Wait:
    """A job that somebody waits for: one for all tasks that wait for it by the same id."""

    queue_name: str
    #: The id that was asked for, of any attempt.
    id: str
    #: How often it is asked for without a notification, in seconds.
    poll_interval: float
    #: The first attempt's id, which notifications have. It is `id` until that is known better.
    first_id: str = attrs.field(
        init=False, default=attrs.Factory(lambda self: self.id, takes_self=True)
    )
    #: The latest attempt, as it was seen last; `None` while nobody knows, and once the answer is
    #: that there is no such job.
    row: JobRow | None = attrs.field(init=False, default=None)
    #: Set, and replaced by another, whenever the job was asked for.
    seen: trio.Event = attrs.field(init=False, factory=trio.Event)
    #: Whether `row` is how the chain ended, or there is none.
    is_answered: bool = attrs.field(init=False, default=False)
    #: Whether the client was closed before there was an answer.
    is_abandoned: bool = attrs.field(init=False, default=False)
    #: How many tasks wait for it, and how many of these follow its progress.
    tasks: int = attrs.field(init=False, default=0)
    followers: int = attrs.field(init=False, default=0)
    #: Whether the task that waits is about to insert the job: before that it is not asked for.
    is_coming: bool = attrs.field(default=False)
    #: Whether the end will be notified, as far as is known.
    is_watched: bool = attrs.field(
        init=False, default=attrs.Factory(lambda self: self.is_coming, takes_self=True)
    )
    #: Called once there is an answer, or nobody will give one.
    on_answer: list[Callable[[Wait], None]] = attrs.field(
        init=False, factory=list["Callable[[Wait], None]"]
    )
    #: Whether it would have been asked for meanwhile.
    is_put_off: bool = attrs.field(init=False, default=False)

    def note(self, row: JobRow | None, *, is_answer: bool = False) -> None:
        """Tell those that wait how the job stands."""
        self.row = row
        self.is_answered = is_answer
        seen, self.seen = self.seen, trio.Event()
        seen.set()
        if is_answer:
            self._call_back()

    def abandon(self) -> None:
        """Tell those that wait that nobody will tell them."""
        self.is_abandoned = True
        self.seen.set()
        self._call_back()

    def _call_back(self) -> None:
        called, self.on_answer = self.on_answer, []
        for call in called:
            call(self)


class Waiters:
    """One for each client."""

    def __init__(self, runtime: Runtime, closed: Callable[[], Exception]) -> None:
        self._runtime = runtime
        #: Makes what is raised to those who wait where nobody will answer.
        self.closed: Callable[[], Exception] = closed
        #: On which this process is notified of ends.
        self.channel: Final = f"m25_waiter_{uuid4().hex[:28]}"
        #: By queue and id.
        self._waits: dict[tuple[str, str], Wait] = {}
        #: By the first attempt's id.
        self._by_first = defaultdict[str, set[Wait]](set)
        #: What to ask for next; a dictionary, since it has an order.
        self._due: dict[Wait, None] = {}
        #: The same of those that have ended, by a notification: these are asked for first.
        self._ended: dict[Wait, None] = {}
        #: What could not be watched when it was asked for last.
        self._unwatched: set[Wait] = set()
        #: Of which chains the end was notified while a statement was under way.
        self._ended_meanwhile: set[str] = set()
        self._wakeup = Wakeup()
        self._retries = Backoff(_FIRST_RETRY, _LONGEST_RETRY, runtime.rng)
        # When to ask next, by Trio's clock: for what could not be watched, for what is followed,
        # and for all.
        self._retry_at = self._follow_at = self._poll_at = math.inf
        self._idle_since = -math.inf
        #: Until when `run` waits, by Trio's clock, unless it is woken.
        self._asleep_until = math.inf
        #: Whether the client's role may write into the rows of jobs.
        self._may_watch = True
        #: Whether `run` has ended: nobody answers from then on.
        self._has_ended = False

    def refuse(self, why: Callable[[], Exception]) -> None:
        """Refuse all waits from now on, since nobody will run what is waited for."""
        self.closed, self._has_ended = why, True

    # For those who wait

    @contextmanager
    def waiting(
        self, queue: BaseQueue[Any, Any, Any], id: JobId, *, is_coming: bool = False
    ) -> Generator[Wait]:
        """A block in which a job is waited for.

        With `is_coming` the job is inserted in the block, under an id that nobody else knows, and
        with this `channel` as its waiter. It is not asked for before `came` is called.

        Raises:
            Exception: what `closed` makes, where the client is closed or being cancelled.
        """
        if self._has_ended:
            raise self.closed()
        key = queue.name, str(id)
        wait = self._waits.get(key)
        if wait is None:
            interval = queue.poll_interval.total_seconds()
            wait = self._waits[key] = Wait(*key, interval, is_coming=is_coming)
            self._by_first[wait.first_id].add(wait)
            self._poll_at = min(self._poll_at, self._next_poll([wait]))
            if self._poll_at < self._asleep_until:  # rule: who polls often is not kept waiting
                self._wakeup.set()
            if not is_coming:
                self._ask(wait)
        wait.tasks += 1
        try:
            yield wait
        finally:
            wait.tasks -= 1
            if not wait.tasks:
                self._forget(wait)

    def came(self, wait: Wait, *, is_sure: bool = True) -> None:
        """Note that a job is there now. Its end will be notified, if this process listens.

        Where that is not sure, since its insert has failed, it is asked for at once.
        """
        wait.is_coming = False
        if wait.is_put_off or not is_sure:
            wait.is_watched = is_sure
            self._ask(wait)

    async def end_of(self, wait: Wait) -> JobRow | None:
        """Return how a chain has ended, once it has; `None` where the queue has no such job.

        Raises:
            Exception: what `closed` makes, where the client is closed.
        """
        while not wait.is_answered:
            await self.change_of(wait)
        return wait.row

    async def change_of(self, wait: Wait) -> None:
        """Return once the job was asked for again.

        Raises:
            Exception: what `closed` makes, where the client is closed.
        """
        if not wait.is_abandoned:
            await wait.seen.wait()
        if wait.is_abandoned:
            raise self.closed()

    @contextmanager
    def following(self, wait: Wait) -> Generator[None]:
        """A block in which a job that is waited for is asked for every second."""
        wait.followers += 1
        self._follow_at = min(self._follow_at, trio.current_time() + _PROGRESS_INTERVAL)
        self._wakeup.set()
        try:
            yield
        finally:
            wait.followers -= 1

    # The service

    async def run(self) -> None:
        """Ask for jobs and listen while anybody waits, until cancelled."""
        try:
            while True:
                while not self._waits:
                    await self._wakeup.wait()
                await keep_running("waiters", self._serve, self._runtime)
        finally:
            # A clean-up that is shielded may wait for jobs after this.
            self._has_ended = True
            for wait in list(self._waits.values()):
                self._forget(wait)
                wait.abandon()

    async def _serve(self) -> None:
        # Where it failed before, nobody knows what was asked for and not answered.
        for wait in self._waits.values():
            self._ask(wait)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._listen)
            await self._ask_until_idle()
            nursery.cancel_scope.cancel()

    async def _listen(self) -> None:
        async with self._runtime.store.listen_for_ends(self.channel, self._heard):
            await trio.sleep_forever()

    def _heard(self, first_id: str | None) -> None:
        if first_id is None:  # rule: after a gap all are asked for
            for wait in self._waits.values():
                self._ask(wait)
        else:
            self._ended_meanwhile.add(first_id)
            for wait in self._by_first.get(first_id, ()):
                self._ask(wait, has_ended=True)

    async def _ask_until_idle(self) -> None:
        tries = self._runtime.tries()
        while await self._wait_until_due():
            # Of many that are asked for just in case, some may have ended meanwhile.
            batch = [*self._ended, *(wait for wait in self._due if wait not in self._ended)]
            del batch[_LARGEST_BATCH:]
            for wait in batch:
                self._due.pop(wait, None)
                self._ended.pop(wait, None)
            self._ended_meanwhile.clear()
            try:
                answers = await self._look(batch)
            except StatementFailed as failure:
                for wait in batch:
                    self._ask(wait)
                await trio.sleep(tries.failed(failure))
                continue
            tries.worked()
            for wait in batch:
                self._take(wait, answers.get(wait.id))
            if not self._unwatched:
                self._retries.worked()
            elif self._retry_at == math.inf:
                self._retry_at = trio.current_time() + self._retries.failed()

    async def _look(self, batch: Sequence[Wait]) -> dict[str, Watched]:
        store = self._runtime.store
        ids = list(dict.fromkeys(wait.id for wait in batch))
        if self._may_watch and not all(wait.is_watched for wait in batch):
            try:
                return await store.watch(ids, self.channel)
            except StatementFailed as failure:
                if not failure.is_denied:
                    raise
                self._may_watch = False
        rows = await store.latest(ids)
        # The next attempt has its channel from the one before, but where the original's worker
        # inserts it.
        return {
            id: Watched(row, row.waiter is not None or not self._may_watch)
            for id, row in rows.items()
        }

    async def _wait_until_due(self) -> bool:
        """Wait until a job is to be asked for; return whether one is, and nobody waits otherwise
        for so long that listening is to end.
        """
        while not (self._due or self._ended):
            idle_at = math.inf if self._waits else self._idle_since + _LONGEST_IDLE
            until = min(self._retry_at, self._follow_at, self._poll_at, idle_at)
            self._asleep_until = until
            try:
                with trio.move_on_at(until):
                    await self._wakeup.wait()
            finally:
                self._asleep_until = math.inf
            now = trio.current_time()
            if not self._waits and now >= self._idle_since + _LONGEST_IDLE:
                return False
            self._ask_what_is_due(now)
        return True

    def _ask_what_is_due(self, now: float) -> None:
        if now >= self._retry_at:
            self._retry_at = math.inf
            for wait in self._unwatched:
                self._ask(wait)
        if now >= self._follow_at:
            followed = [wait for wait in self._waits.values() if wait.followers]
            self._follow_at = now + _PROGRESS_INTERVAL if followed else math.inf
            for wait in followed:
                self._ask(wait)
        if now >= self._poll_at:
            self._poll_at = self._next_poll(self._waits.values())
            for wait in self._waits.values():  # rule: what is not notified is asked for
                self._ask(wait)

    def _next_poll(self, waits: Iterable[Wait]) -> float:
        """When to ask for all, by Trio's clock; spread by a tenth, so that processes that began
        together do not ask together.
        """
        interval = min((wait.poll_interval for wait in waits), default=math.inf)
        return trio.current_time() + interval * self._runtime.rng.uniform(0.9, 1.0)

    def _ask(self, wait: Wait, *, has_ended: bool = False) -> None:
        if wait.is_coming:
            wait.is_put_off = True
        elif self._is_here(wait):
            (self._ended if has_ended else self._due)[wait] = None
            self._wakeup.set()

    def _take(self, wait: Wait, watched: Watched | None) -> None:
        """Take the answer of the database."""
        self._unwatched.discard(wait)
        if not self._is_here(wait):
            return
        if watched is None or watched.row.queue_name != wait.queue_name:
            self._forget(wait)
            wait.note(None, is_answer=True)
            return
        row = watched.row
        if row.status in FINAL_VALUES:
            self._forget(wait)
            wait.note(row, is_answer=True)
            return
        first_id = row.job_id
        if first_id != wait.first_id:
            self._leave_first(wait)
            wait.first_id = first_id
            self._by_first[first_id].add(wait)
        wait.is_watched = watched.is_watched
        if not watched.is_watched:
            self._unwatched.add(wait)
        # It may have ended after it was read, and before it was known by this id.
        if first_id in self._ended_meanwhile:  # rule: an end that comes meanwhile is not missed
            self._ask(wait)
        wait.note(row)

    def _is_here(self, wait: Wait) -> bool:
        return self._waits.get((wait.queue_name, wait.id)) is wait

    def _forget(self, wait: Wait) -> None:
        if not self._is_here(wait):
            return
        del self._waits[wait.queue_name, wait.id]
        self._leave_first(wait)
        self._due.pop(wait, None)
        self._ended.pop(wait, None)
        self._unwatched.discard(wait)
        if not self._waits:
            self._idle_since = trio.current_time()

    def _leave_first(self, wait: Wait) -> None:
        waits = self._by_first[wait.first_id]
        waits.discard(wait)
        if not waits:
            del self._by_first[wait.first_id]
