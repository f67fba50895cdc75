"""Limits in memory: which jobs may run, and which are held up; long, since all count here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final, NamedTuple

import attrs

from ..lanes import LONGEST_KEY, key_of
from ..operator import MOST_KEYS_NAMED, LimitState
from ..protocol import AskedPlace, DeclaredQueue, TakenPlaces
from .clock import Clock
from .holders import Holders
from .queues import Queues
from .rows import HELD_UP_UNTIL, MICROSECOND, SECOND, Row, seconds, within_bounds
from .table import Table

#: More than there can be.
_ANY: Final = 2**31 - 1
#: When the next job may begin where none has begun by now.
_NEVER: Final = -(2**63)
#: How many due jobs one claim looks at, as the statement does.
_SHORTEST_WALK: Final = 50
#: How many keys with jobs that are held up.
_MOST_KEYS: Final = 500


class Chosen(NamedTuple):
    """What one claim may take."""

    rows: list[Row]
    is_full: bool
    has_more: bool
    last_key: str | None = None
    room_in: float | None = None


@attrs.define
class _Clock:
    """When the next job may begin by a rate; times are microseconds."""

    interval: int
    burst: int
    next_start_at: int = _NEVER

    def tokens(self, now: int) -> int:
        """How many may begin now."""
        self.next_start_at = max(self.next_start_at, now - self.burst * self.interval)
        return max(0, (now - self.next_start_at) // self.interval + 1)

    @property
    def began(self) -> str | None:
        """When the next may begin, if one has begun."""
        return None if self.next_start_at == _NEVER else seconds(self.next_start_at)

    def spend(self, number: int) -> None:
        """So many begin."""
        self.next_start_at = paid(self.next_start_at, number * self.interval)


class Limits:
    """One for each store."""

    def __init__(self, table: Table, queues: Queues, holders: Holders, clock: Clock) -> None:
        self._holders = holders
        self._clock = clock
        #: Those of which the next place is that of jobs, if these have waited, too.
        self._jobs_next: set[str] = set()
        self._table = table
        self._queues = queues
        self._declared: dict[str, int | None] = {}
        self._clocks: dict[str, _Clock] = {}
        self._set_to: dict[str, int] = {}
        #: Of those that a program has declared which holds their places, the paths of their keys.
        self._paths: dict[str, Sequence[str] | None] = {}
        #: By limit, from when on a place is left to others, if they wait for one.
        self._turns: dict[str, int] = {}

    def declare(self, queues: Sequence[DeclaredQueue]) -> None:
        """A worker says under which limits its queues run."""
        for queue in queues:
            if queue.limiter is None:
                continue
            self._declared[queue.limiter] = queue.limit_size
            if queue.rate_interval is None or queue.rate_burst is None:
                self._clocks.pop(queue.limiter, None)
                continue
            interval = queue.rate_interval // MICROSECOND
            clock = self._clocks.setdefault(queue.limiter, _Clock(interval, queue.rate_burst))
            clock.interval, clock.burst = interval, queue.rate_burst

    def declare_held(self, limiter: str, size: int | None, path: Sequence[str] | None) -> None:
        """A program says of which limit it holds places."""
        self._declared[limiter] = size
        self._paths[limiter] = path

    def take_places(
        self, limiter: str, asked: Sequence[AskedPlace], now: int
    ) -> TakenPlaces | None:
        """Take places outside of jobs, in order, as far as there are any."""
        if limiter not in self._declared:
            return None
        has_limit = self.size(limiter) is not None
        queues = self._queues.under(limiter)
        has_key = self._paths.get(limiter) is not None
        if queues:
            has_key = any(queue.limit_path is not None for queue in queues)
        fit = [
            (each, (each.key or "")[:LONGEST_KEY])
            for each in asked
            if has_limit and has_key == (each.key is not None)
        ]
        taken = self._running(limiter) + Counter(key for key, _ in self._holders.held(limiter))
        granted: list[tuple[AskedPlace, str]] = []
        for each, key in fit:
            if self._holders.is_there(each.id):
                granted.append((each, key))
            elif taken[key] < self._most(limiter):
                taken[key] += 1
                granted.append((each, key))
        is_left = False
        new = [one for one in granted if not self._holders.is_there(one[0].id)]
        if new and self._is_turn(limiter, now):
            granted.remove(new.pop())
            del self._turns[limiter]
            is_left = True
        if is_left:
            self._jobs_next.discard(limiter)
        elif new:
            self._jobs_next.add(limiter)
        for each, key in granted:
            self._holders.hold(each.id, limiter, key, each.lease // MICROSECOND)
        ids = frozenset(each.id for each, _ in granted)
        refused = [key for each, key in fit if each.id not in ids]
        self._holders.note(limiter, [key for _, key in new], refused, is_left=is_left)
        return TakenPlaces(has_limit, has_key, is_left, ids)

    def _is_turn(self, limiter: str, now: int) -> bool:
        """Whether the next place is that of jobs."""
        if self._turns.get(limiter, now + 1) > now:
            return False
        return limiter in self._jobs_next or self._awaited(limiter) is None

    def _awaited(self, limiter: str) -> str | None:
        """The key of which one place is left to who waits outside of a job, if one is."""
        now = self._clock.now()
        if limiter in self._jobs_next and self._turns.get(limiter, now + 1) <= now:
            return None
        return self._holders.awaited(limiter)

    def full_keys(self, limiter: str) -> set[str]:
        """The keys of which as many places are taken as there are."""
        most = self._most(limiter)
        return {key for key, number in self._taken(limiter).items() if number >= most}

    def leaves_room(self, limiter: str) -> bool:
        """Whether there is room for who waits outside of a job, and a place is left to it."""
        key = self._awaited(limiter)
        return key is not None and self._taken(limiter)[key] <= self._most(limiter)

    def want_turn(self, limiter: str, now: int) -> None:
        """Jobs were left for want of places, while others hold some outside of jobs."""
        if limiter not in self._clocks and self._holders.held(limiter):
            self._turns.setdefault(limiter, now + SECOND)

    def give_back(self, row: Row, now: int) -> None:
        """A job under a rate was claimed and is left to newer workers: its token is there again,
        but where that was so long ago that more may have been saved up since than may be.
        """
        declared = self._queues.declared(row.queue_name)
        if declared is None or declared.limiter is None or row.reserved_at is None:
            return
        clock = self._clocks.get(declared.limiter)
        if clock is not None and now - row.reserved_at < clock.interval:
            clock.next_start_at -= clock.interval

    def set(self, limiter: str, size: int | None) -> bool:
        """Set a limit; return whether there is such a one."""
        self._set_to.pop(limiter, None)
        if size is not None and limiter in self._declared:
            self._set_to[limiter] = size
        return limiter in self._declared

    def size(self, limiter: str | None) -> int | None:
        """How many may run at once under a limit, if there is such a one."""
        if limiter is None:
            return None
        return self._set_to.get(limiter, self._declared.get(limiter))

    def states(self, most: int, now: int) -> list[LimitState]:
        """Those under which queues run, by name."""
        named = {name: self._queues.under(name) for name in sorted(self._declared)}
        return [
            self._state(name, queues, most, now)
            for name, queues in named.items()
            if queues or name in self._paths
        ]

    def _state(
        self, limiter: str, queues: Sequence[DeclaredQueue], most: int, now: int
    ) -> LimitState:
        names = sorted(queue.name for queue in queues)
        path, rate_path = self._paths.get(limiter), None
        if queues:
            path, rate_path = queues[0].limit_path, queues[0].rate_path
        clock = self._clocks.get(limiter)
        held = self._holders.held(limiter)
        size, running = self._most(limiter), self._running(limiter)
        taken = running + Counter(key for key, _ in held)
        full = [] if path is None else sorted(key for key in taken if taken[key] >= size)
        waiting = sum(
            min(len(self._table.due(name, now, most)), most)
            + min(sum(map(len, self._table.held_up(name).values())), most)
            for name in names
        )
        # What is claimed for the place of one that runs waits for it.
        waiting += sum(len(self._table.live(name)) for name in names) - running.total()
        return LimitState(
            limiter,
            names,
            None if path is None else ".".join(path),
            self.size(limiter),
            limiter in self._set_to,
            None if clock is None else seconds(clock.interval),
            None if clock is None else clock.burst,
            None if rate_path is None else ".".join(rate_path),
            None if clock is None or rate_path else clock.began,
            running.total(),
            len(held),
            waiting,
            len(full),
            full[:MOST_KEYS_NAMED],
        )

    def running(
        self, limiter: str | None, declared: DeclaredQueue | None, key: str | None
    ) -> int | None:
        """How many run of a key of a queue's limit, or of all, if it has one."""
        if limiter is None or self.size(limiter) is None:
            return None
        running = self._running(limiter)
        by_key = declared is not None and declared.limit_path is not None
        return running[key or ""] if by_key else running.total()

    def held(self, limiter: str | None, declared: DeclaredQueue | None, key: str | None) -> int:
        """How many places of a key of a queue's limit, or of all, are held outside of jobs."""
        held = [] if limiter is None else self._holders.held(limiter)
        by_key = declared is not None and declared.limit_path is not None
        return sum(not by_key or each == (key or "") for each, _ in held)

    def next_start_at(self, limiter: str) -> int | None:
        """When the next may begin by the rate, if it has one clock for all and one has begun."""
        clock = self._clocks.get(limiter)
        return None if clock is None or clock.began is None else clock.next_start_at

    def choose(self, queue_name: str, limiter: str, limit: int, now: int) -> Chosen:
        """The first due jobs, as many as may run."""
        free = self._most(limiter) - self._taken(limiter)[""]
        clock = self._clocks.get(limiter)
        tokens = _ANY if clock is None else clock.tokens(now)
        keys = self._table.due(queue_name, now, max(0, min(limit, free, tokens)))
        rows = [self._table.rows[id] for _, _, id in keys]
        room_in = self._spend(clock, len(rows), tokens, now)
        is_full = len(rows) >= min(free, tokens)
        if clock is None and free <= len(rows) < limit:
            self._turns.setdefault(limiter, now + SECOND)
        return Chosen(rows, is_full, has_more=False, room_in=room_in)

    def held_by_former_keys(self, queue_name: str) -> list[Row]:
        """The jobs of a queue that are held up by a key that it has no more."""
        declared = self._queues.declared(queue_name)
        path = None if declared is None else declared.held_by
        return [
            row
            for rows in self._table.held_up(queue_name).values()
            for row in rows
            if path is None or key_of(row.input, path) != row.limit_key
        ]

    def free(self, limiter: str, limit: int, now: int) -> int:
        """How many of `limit` may begin now, of all keys together."""
        clock = self._clocks.get(limiter)
        tokens = _ANY if clock is None else clock.tokens(now)
        return min(limit, self._most(limiter) - self._taken(limiter)[""], tokens)

    def room(self, limiter: str, limit: int) -> int:
        """How many of `limit` may run beside those that do, of all keys together."""
        return max(0, min(limit, self._most(limiter) - self._taken(limiter)[""]))

    def hold(self, limiter: str, until: int) -> None:
        """Let no job begin by the rate before a time."""
        if (clock := self._clocks.get(limiter)) is not None:
            clock.next_start_at = max(clock.next_start_at, until)

    def take(self, limiter: str, cost: int, now: int) -> float:
        """Take the next turn of a rate; return in how many seconds it comes."""
        clock = self._clocks[limiter]
        clock.tokens(now)
        ahead = (min(cost, clock.burst + 1) - 1) * clock.interval
        turn_at = clock.next_start_at + ahead
        clock.spend(cost)
        return max(0, turn_at - now) / SECOND

    def rate(self, limiter: str) -> tuple[int, int] | None:
        """How much time lies between two that begin, and how many may beyond that, if anybody has
        said so.
        """
        clock = self._clocks.get(limiter)
        return None if clock is None else (clock.interval, clock.burst)

    def spend(self, limiter: str, number: int, now: int) -> float | None:
        """So many begin; return in how many seconds the next may, if none may now."""
        clock = self._clocks.get(limiter)
        return None if clock is None else self._spend(clock, number, clock.tokens(now), now)

    def has_turned(self, limiter: str, now: int) -> bool:
        """Whether a place is to be left to others; then that is done, and they wait anew."""
        if self._turns.get(limiter, now + 1) > now:
            return False
        del self._turns[limiter]
        return True

    def beyond(self, limiter: str) -> int:
        """How many more run than may, as the limit was made smaller; below zero, how many more may
        run.
        """
        return self._taken(limiter)[""] - self._most(limiter)

    def held_places(self, limiter: str) -> Counter[str]:
        """How many live jobs have each place; one that is alone has its own id for a place."""
        return Counter(
            row.place or row.id
            for queue in self._queues.under(limiter)
            for row in self._table.live(queue.name)
        )

    def choose_by_key(
        self, queue_name: str, limiter: str, limit: int, from_key: str, now: int
    ) -> Chosen:
        """The first jobs that are due or held up, of each key as many as may run; of those that are
        due, the others are held up from now on.
        """
        size, taken = self._most(limiter), self._taken(limiter)
        clock = self._clocks.get(limiter)
        tokens = _ANY if clock is None else clock.tokens(now)
        declared = self._queues.declared(queue_name)
        path = () if declared is None else declared.limit_path or ()
        walk = max(2 * limit, _SHORTEST_WALK)
        walked = [self._table.rows[id] for _, _, id in self._table.due(queue_name, now, walk)]
        found = [(row.priority, row.run_at, row.id, key_of(row.input, path)) for row in walked]
        held_up = self._table.held_up(queue_name)
        keys = sorted(key for key in held_up if key >= from_key)
        former = {row.id for row in self.held_by_former_keys(queue_name)}
        found += [
            (row.priority, row.was_due_at or 0, row.id, key)
            for key in keys[:_MOST_KEYS]
            for row in sorted(held_up[key], key=_place)
            # rule: in memory, too, what is held up by a former key waits until it is let go
            if row.id not in self._table.locked and row.id not in former
        ]
        chosen: list[Row] = []
        is_full = bool(keys)
        for _, at, id, key in sorted(found):
            row = self._table.rows[id]
            if taken[key] < size:
                if len(chosen) < min(limit, tokens):
                    taken[key] += 1
                    chosen.append(row)
            elif not row.is_held_up:
                is_full = True
                if path:  # rule: in memory, too, without a key no job is held up
                    self._table.hold_up(row, key, at)
        has_more = len(walked) == walk or len(keys) >= _MOST_KEYS
        last_key = keys[_MOST_KEYS - 1] if len(keys) >= _MOST_KEYS else None
        room_in = self._spend(clock, len(chosen), tokens, now)
        has_more = has_more and len(chosen) < tokens
        if is_full:
            self.want_turn(limiter, now)
        is_full = is_full or len(chosen) >= tokens
        return Chosen(chosen, is_full, has_more, last_key, room_in)

    def _spend(self, clock: _Clock | None, number: int, tokens: int, now: int) -> float | None:
        """So many begin; return in how many seconds the next may, if none may now."""
        if clock is None:
            return None
        clock.spend(number)
        return max(0, clock.next_start_at - now) / SECOND if number >= tokens else None

    def _most(self, limiter: str) -> int:
        """How many may run at once; none of what nobody has declared."""
        if limiter not in self._declared:
            return 0
        size = self.size(limiter)
        return _ANY if size is None else size

    def _taken(self, limiter: str) -> Counter[str]:
        taken = self._running(limiter) + Counter(key for key, _ in self._holders.held(limiter))
        if (key := self._awaited(limiter)) is not None:
            taken[key] += 1
        return taken

    def _running(self, limiter: str) -> Counter[str]:
        places = {
            (key_of(row.input, queue.limit_path or ()), row.place or row.id)
            for queue in self._queues.under(limiter)
            for row in self._table.live(queue.name)
        }
        return Counter(key for key, _ in places)


def paid(start_at: int, price: int) -> int:
    """When the next may begin by a clock after one at this time that cost so much of it."""
    return min(start_at + within_bounds(price), HELD_UP_UNTIL)


def _place(row: Row) -> tuple[int, int, str]:
    return row.priority, row.was_due_at or 0, row.id
