"""Places of limits that are held outside of jobs, in memory; and who waits for such a one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import attrs

from ..protocol import LostHolder, Written
from .clock import Clock
from .rows import SECOND, seconds


@attrs.define
class _Holder:
    """Times are microseconds."""

    limiter: str
    key: str
    lease: int
    expires_at: int


@attrs.define
class _Awaited:
    """That somebody waits: since when, of which key, and when it has asked last."""

    since: int
    key: str
    asked_at: int


class Holders:
    """One for each store."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._holders: dict[str, _Holder] = {}
        #: By limit.
        self._awaited: dict[str, _Awaited] = {}

    def held(self, limiter: str) -> list[tuple[str, str]]:
        """The keys and the ids of the places of a limit that are held."""
        return [(each.key, id) for id, each in self._holders.items() if each.limiter == limiter]

    def is_there(self, id: str) -> bool:
        """Whether a place is held by this id."""
        return id in self._holders

    def hold(self, id: str, limiter: str, key: str, lease: int) -> None:
        """A place is held from now on, or goes on to be."""
        self._holders[id] = _Holder(limiter, key, lease, self._clock.now() + lease)

    def awaited(self, limiter: str) -> str | None:
        """The key of which one place is left to who waits, if one is."""
        awaited, now = self._awaited.get(limiter), self._clock.now()
        if awaited is None or awaited.since > now - SECOND or awaited.asked_at <= now - 3 * SECOND:
            return None
        return awaited.key

    def note(
        self, limiter: str, granted: Sequence[str], refused: Sequence[str], *, is_left: bool
    ) -> None:
        """By their keys: some have places, and others wait; and a place was left to jobs."""
        awaited, now = self._awaited.get(limiter), self._clock.now()
        if not refused:
            if awaited is not None and awaited.key in granted:
                del self._awaited[limiter]
            return
        since, key = now, refused[0]
        if awaited is not None and awaited.asked_at > now - 3 * SECOND:
            if not (granted or is_left):
                since = awaited.since
            if awaited.key not in granted:
                key = awaited.key
        self._awaited[limiter] = _Awaited(since, key, now)

    def renew(self, ids: Iterable[str]) -> Written:
        """Their leases begin anew."""
        found = frozenset(id for id in ids if id in self._holders)
        for id in found:
            holder = self._holders[id]
            holder.expires_at = self._clock.now() + holder.lease
        return Written(found, frozenset())

    def release(self, ids: Iterable[str]) -> set[tuple[str, str]]:
        """Give places back; return the limits and keys of those that were held."""
        found = [self._holders.pop(id) for id in ids if id in self._holders]
        return {(each.limiter, each.key) for each in found}

    def lost(self, limit: int) -> list[LostHolder]:
        """Those whose leases are over."""
        now = self._clock.now()
        late = [
            item for item in self._holders.items() if item[1].expires_at < now + item[1].lease // 2
        ]
        late.sort(key=lambda item: item[1].expires_at)
        return [_lost(id, holder, now) for id, holder in late[:limit]]

    def sweep(self, lost: Sequence[LostHolder]) -> list[LostHolder]:
        """Give back what is as it was seen."""
        swept = [
            each
            for each in lost
            if (holder := self._holders.get(each.id)) is not None
            and seconds(holder.expires_at) == each.lease_expires_at
        ]
        self.release(each.id for each in swept)
        return swept

    def skip(self, by: int) -> None:
        """The clock was set forward, and whoever holds a place keeps what was left of its lease."""
        for holder in self._holders.values():
            holder.expires_at += by


def _lost(id: str, holder: _Holder, now: int) -> LostHolder:
    return LostHolder(
        holder.limiter,
        id,
        seconds(holder.expires_at),
        holder.expires_at < now,
        holder.lease / SECOND,
    )
