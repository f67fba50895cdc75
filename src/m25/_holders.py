"""Places of limits that are held outside of jobs: waits for them, and keeps and gives them back.

All tasks of a client that wait for places of one limit share a statement. They ask when one of them
comes, when they hear that there is room, and otherwise once a second: a notification is a hint, and
may be missing. The leases of all places that are held are renewed by one statement, on a connection
that nobody else can take. A block whose lease may be over is cancelled before the place is given to
others, as is the handler of an exclusive job (`_worker/lease.py`): a quarter of the lease earlier.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Final

import trio

from ._cancelling import cancel
from ._errors import JobRecordFetchQueryError, UsageError
from ._limit_errors import PlaceLost
from ._limit_line import DeclaredLimit, Line, Place, held_places
from ._runtime import Runtime
from ._store.failures import StatementFailed
from ._store.protocol import AskedPlace, TakenPlaces
from ._supervisor import keep_running
from ._worker.lost_holders import LostHolders
from .pg._wakeup import Wakeup
from .pg._wire import CLEAN_UP

#: How often places are asked for without a notification, in seconds.
_POLL_INTERVAL: Final = 1.0
#: How long jobs have for a place that was left to them, in seconds, before it is asked for again.
_TURN: Final = 0.05
#: How often those who wait look for holders that are gone, in seconds; and how much too late such a
#: look may come, so that those before it count.
_LOOK_INTERVAL: Final = 2.0
_LATE: Final = 2.0
#: How long a row that somebody has locked is left alone, in seconds.
_LOCKED: Final = 0.2
#: How long the service goes on once there is nothing to do, in seconds: most who ask, ask again.
_LONGEST_IDLE: Final = 60.0


class Holders:
    """One for each client."""

    def __init__(self, runtime: Runtime, closed: Callable[[], Exception]) -> None:
        self._runtime = runtime
        #: Makes what is raised to those who wait where nobody will answer.
        self._closed = closed
        self._lines: dict[str, Line] = {}
        #: By id.
        self._held: dict[str, Place] = {}
        #: By id, what may be held in the database, and nobody wants any more.
        self._unwanted: dict[str, Place] = {}
        #: Set when there is something to do: for the service, renewals, releases, and looks.
        self._wakeup = Wakeup()
        self._held_wakeup = Wakeup()
        self._unwanted_wakeup = Wakeup()
        self._look_wakeup = Wakeup()
        self._lost_holders = LostHolders(runtime)
        self._has_ended = False

    # For those who hold places

    @asynccontextmanager
    async def hold(
        self, limiter: str, key: str | None, lease: float, declared: DeclaredLimit | None
    ) -> AsyncGenerator[None]:
        """A block that waits for a place, and holds it.

        Raises:
            UsageError: nobody has declared the limit, it is a rate alone, it counts by a key and
                none was given, or the other way round.
            PlaceLost: the place was lost while the block ran.
            JobRecordFetchQueryError: the client's role may not take places.
            Exception: what `closed` makes, where the client is closed.
        """
        if self._has_ended:
            raise self._closed()
        place = Place(limiter, key, lease)
        await self._wait_for(place, declared)
        token = held_places.set((*held_places.get(), place))
        try:
            with place.scope:
                yield
            # A block that stood still, or has shielded itself, may have outlasted its lease.
            is_over = trio.current_time() >= place.ends_at
            if place.scope.cancelled_caught or place.is_gone or is_over:
                raise PlaceLost(limiter, key)
        finally:
            held_places.reset(token)
            await self._give_back(place)

    async def _wait_for(self, place: Place, declared: DeclaredLimit | None) -> None:
        line = self._lines.setdefault(place.limiter, Line(place.limiter))
        line.declare(declared)
        line.join(place)
        self._wakeup.set()
        self._look_wakeup.set()
        try:
            await place.answered.wait()
        except BaseException:
            line.leave(place)
            if place.is_held:
                await self._give_back(place)
            elif place.is_in_doubt and place.id not in line.under_way:
                # rule: who stops waiting leaves nothing behind
                self._drop(place)
            raise
        if place.refusal is not None:
            raise place.refusal

    async def _give_back(self, place: Place) -> None:
        """Release a place at once, also where the task is cancelled; or have it released later."""
        place.is_held = False
        self._held.pop(place.id, None)
        if place.is_gone:
            return
        # rule: a place is given back as its block is left
        with suppress(StatementFailed), trio.move_on_after(CLEAN_UP, shield=True):
            await self._release(place.limiter, [place.id])
            return
        self._drop(place)

    async def _release(self, limiter: str, ids: Sequence[str]) -> None:
        if await self._runtime.store.release_places(limiter, ids):
            self._runtime.hints.room(limiter)

    def _drop(self, place: Place) -> None:
        self._unwanted[place.id] = place
        self._unwanted_wakeup.set()
        self._wakeup.set()

    # The service

    async def run(self) -> None:
        """Ask for places, and keep them, while anybody waits for one or holds one."""
        try:
            while True:
                while not self._is_busy():
                    await self._wakeup.wait()
                await keep_running("holders of limits", self._serve, self._runtime)
        finally:
            await self._end()

    async def _end(self) -> None:
        """Refuse those who still wait, cancel those who hold, and release what nobody wants."""
        self._has_ended = True
        for line in self._lines.values():
            for place in list(line.waiting.values()):
                line.leave(place)
                place.refuse(self._closed())
                if place.is_in_doubt:
                    self._unwanted[place.id] = place
        for place in list(self._held.values()):
            # Nobody renews it from now on.
            cancel(place.scope, "the client's block was left")
        with trio.move_on_after(CLEAN_UP, shield=True):
            for limiter in {place.limiter for place in self._unwanted.values()}:
                with suppress(StatementFailed):
                    await self._release(limiter, self._unwanted_of(limiter))

    def _is_busy(self) -> bool:
        return bool(
            self._held or self._unwanted or any(line.waiting for line in self._lines.values())
        )

    async def _serve(self) -> None:
        for line in self._lines.values():
            line.is_served = False
            line.under_way.clear()
        async with self._runtime.store.holding(), trio.open_nursery() as nursery:
            nursery.start_soon(self._listen)
            nursery.start_soon(self._renew)
            nursery.start_soon(self._release_unwanted)
            nursery.start_soon(self._look_for_lost)
            await self._serve_lines(nursery)
            nursery.cancel_scope.cancel()

    async def _serve_lines(self, nursery: trio.Nursery) -> None:
        """Have places asked for wherever somebody waits; return once nobody has for a while."""
        while True:
            for line in self._lines.values():
                if line.waiting and not line.is_served:
                    line.is_served = True
                    nursery.start_soon(self._ask, line)
            idle_at = math.inf if self._is_busy() else trio.current_time() + _LONGEST_IDLE
            with trio.move_on_at(idle_at) as idle:
                await self._wakeup.wait()
            if idle.cancelled_caught and not self._is_busy():
                self._lines.clear()
                return

    async def _listen(self) -> None:
        async with self._runtime.store.listen_for_room(self._heard):
            await trio.sleep_forever()

    def _heard(self, limiter: str | None) -> None:
        for line in self._lines.values():
            if limiter is None or limiter == line.limiter:
                line.wakeup.set()

    async def _ask(self, line: Line) -> None:
        """Ask for places of one limit, until nobody waits for one."""
        tries = self._runtime.tries()
        while line.waiting:
            # What has come by now is asked for by this statement, and what comes later by the next.
            line.wakeup = Wakeup()
            batch = line.next_batch()
            try:
                has_more = await self._take(line, batch)
            except StatementFailed as failure:
                if failure.is_denied:
                    _refuse_all(line, failure)
                    continue
                await trio.sleep(tries.failed(failure))
                continue
            tries.worked()
            if not has_more:
                pause = _POLL_INTERVAL * self._runtime.rng.uniform(0.8, 1.0)
                with trio.move_on_after(pause):
                    await line.wakeup.wait()
        line.is_served = False
        # There may be nothing else to do: the service is to notice.
        self._wakeup.set()

    async def _take(self, line: Line, batch: Sequence[Place]) -> bool:
        """Take places for a batch; return whether there may be more to take at once.

        Raises:
            StatementFailed: the database did not answer; they may be taken.
        """
        store = self._runtime.store
        declared = line.declared
        if declared is not None and not line.is_declared:
            await store.declare_limit(line.limiter, declared.size, declared.path)
            line.is_declared = line.declared is declared
        asked = [_asked(place) for place in batch]
        for place in batch:
            place.is_in_doubt = True
        line.under_way = {place.id for place in batch}
        sent = trio.current_time()
        is_answered = False
        try:
            taken = await store.take_places(line.limiter, asked)
            is_answered = True
        finally:
            line.under_way = set()
            if not is_answered:
                for place in batch:
                    if place.id not in line.waiting:
                        self._drop(place)
        for place in batch:
            place.is_in_doubt = False
            if taken is not None and place.id in taken.ids:
                self._grant(line, place, sent)
            elif (refusal := _refusal(line.limiter, place, taken)) is not None:
                line.leave(place)
                place.refuse(refusal)
        if taken is None:
            # Whoever asks next may do so after it was declared anew.
            line.is_declared = False
        elif taken.has_turned:
            await trio.sleep(_TURN)
            return True
        return not line.waiting or all(place.is_held for place in batch)

    def _grant(self, line: Line, place: Place, sent: float) -> None:
        if place.id not in line.waiting:
            self._drop(place)
            return
        line.leave(place)
        place.is_held = True
        place.renewed(sent)
        self._held[place.id] = place
        self._held_wakeup.set()
        place.answered.set()

    async def _renew(self) -> None:
        """Renew the leases of all places that are held, in time for each."""
        tries = self._runtime.tries()
        while True:
            renew_at = min((place.renew_at for place in self._held.values()), default=math.inf)
            with trio.move_on_at(renew_at) as due:
                await self._held_wakeup.wait()
            if not due.cancelled_caught:
                continue
            held = dict(self._held)
            if not held:
                continue
            sent = trio.current_time()
            try:
                written = await self._runtime.store.renew_places(list(held))
            except StatementFailed as failure:
                pause = tries.failed(failure)
                for place in held.values():
                    place.renew_at = trio.current_time() + min(pause, place.interval)
                continue
            tries.worked()
            for id, place in held.items():
                if id in written.ids:
                    place.renewed(sent)
                elif id in written.locked:
                    place.renew_at = trio.current_time() + min(_LOCKED, place.interval)
                elif id in self._held:
                    place.lose()

    async def _release_unwanted(self) -> None:
        tries = self._runtime.tries()
        while True:
            while not self._unwanted:
                await self._unwanted_wakeup.wait()
            limiter = next(iter(self._unwanted.values())).limiter
            ids = self._unwanted_of(limiter)
            try:
                await self._release(limiter, ids)
            except StatementFailed as failure:
                await trio.sleep(tries.failed(failure))
                continue
            tries.worked()
            for id in ids:
                self._unwanted.pop(id, None)
            self._wakeup.set()

    def _unwanted_of(self, limiter: str) -> list[str]:
        return [id for id, place in self._unwanted.items() if place.limiter == limiter]

    async def _look_for_lost(self) -> None:
        """While anybody waits, look for holders that are gone."""
        tries = self._runtime.tries()
        while True:
            if not any(line.waiting for line in self._lines.values()):
                self._lost_holders.forget()
                await self._look_wakeup.wait()
                continue
            look_at = trio.current_time() + _LOOK_INTERVAL * self._runtime.rng.uniform(0.8, 1.0)
            await trio.sleep_until(look_at)
            if trio.current_time() > look_at + _LATE:
                # This process stood still, and others may have.
                self._lost_holders.forget()
            if not any(line.waiting for line in self._lines.values()):
                continue
            try:
                await self._lost_holders.look()
            except StatementFailed as failure:
                await trio.sleep(tries.failed(failure))
            else:
                tries.worked()


def _refuse_all(line: Line, failure: StatementFailed) -> None:
    """The client's role may not take places, and asking again would not help."""
    for place in list(line.waiting.values()):
        line.leave(place)
        error = JobRecordFetchQueryError(failure.brief)
        error.__cause__ = failure.__cause__
        place.refuse(error)


def _asked(place: Place) -> AskedPlace:
    return AskedPlace(place.id, place.key, timedelta(seconds=place.lease))


def _refusal(limiter: str, place: Place, taken: TakenPlaces | None) -> Exception | None:
    """Why a place will never be given, if that is so."""
    if taken is None:
        return UsageError(
            f"no worker has run a queue with the limit {limiter!r}, and no program has declared it:"
            " give m.limiter the m25.Limit itself, or the queue"
        )
    if not taken.has_limit:
        return UsageError(f"{limiter!r} is a rate, and no limit: m.limiter(…).take() waits for it")
    if taken.has_key != (place.key is not None):
        how = "counts by a key: give one" if taken.has_key else "counts by no key: give none"
        return UsageError(f"the limit {limiter!r} {how}")
    return None
