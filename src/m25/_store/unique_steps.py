"""The calls of the store about jobs of which a queue has one of a key at a time, as steps.

All statements of a call are one transaction. The first locks the keys; so what is seen after that
of a key's job stays true, but for what workers do to it: they may claim it, and end it. A job that
was to be changed and was claimed meanwhile is looked at again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Final, NamedTuple, TypeAlias

from .columns import JobRow
from .parameters import array, interval, plain_array
from .protocol import AnyJob, Enqueued, Held, NewJob, Twin, UniqueAnswer, UniqueJob
from .steps import Calls, Statement, Steps, given_arrays, milliseconds
from .uniqueness import Decision, Taker, decide

#: The name of a queue, and a key.
_Key: TypeAlias = tuple[str, str]


class _Change(NamedTuple):
    """A new job, and the one whose place it takes."""

    new: UniqueJob
    twin_id: str


def split(jobs: Sequence[AnyJob]) -> tuple[dict[int, NewJob], dict[int, UniqueJob]]:
    """Jobs without a key and with one, by their positions."""
    plain: dict[int, NewJob] = {}
    unique: dict[int, UniqueJob] = {}
    for at, job in enumerate(jobs):
        if isinstance(job, UniqueJob):
            unique[at] = job
        else:
            plain[at] = job
    return plain, unique


class UniqueCalls:
    """The calls of the store about jobs with keys, beside those of `Calls`."""

    def __init__(self, calls: Calls) -> None:
        self._calls: Final = calls

    def enqueue(
        self, jobs: Sequence[UniqueJob], notify: Sequence[str], lock_wait: timedelta | None = None
    ) -> Steps[list[UniqueAnswer]]:
        """Put jobs on their queues, and answer for each, in order."""
        answers: dict[int, UniqueAnswer] = {}
        left: dict[int, UniqueJob] = dict(enumerate(jobs))
        while left:
            answers.update((yield from self._enqueue(_without_repeats(left), notify, lock_wait)))
            left = {at: new for at, new in left.items() if at not in answers}
        return [answers[at] for at in range(len(jobs))]

    def enqueue_any(
        self, jobs: Sequence[AnyJob], notify: Sequence[str], lock_wait: timedelta | None
    ) -> Steps[Sequence[UniqueAnswer]]:
        """The same of jobs with and without keys."""
        plain, unique = split(jobs)
        if not unique:
            return (yield from self._calls.enqueue(list(plain.values()), notify, lock_wait))
        found = yield from self.enqueue(list(unique.values()), notify, lock_wait)
        answers: dict[int, UniqueAnswer] = dict(zip(unique, found, strict=True))
        if plain:
            others = yield from self._calls.enqueue(list(plain.values()), notify, lock_wait)
            answers.update(zip(plain, others, strict=True))
        return [answers[at] for at in range(len(jobs))]

    def _enqueue(
        self, jobs: Mapping[int, UniqueJob], notify: Sequence[str], lock_wait: timedelta | None
    ) -> Steps[dict[int, UniqueAnswer]]:
        """The same of jobs with different ids and keys; some may come to be tried again."""
        parameters = {**_keys(jobs.values()), "lock_wait": milliseconds(lock_wait)}
        rows = yield Statement("lock_keys", parameters)
        takers: dict[_Key, str | None] = {(queue, key): id for queue, key, id in rows}
        # A job that has the key itself is a repeat of this call: its id will say so.
        taken = {at: new for at, new in jobs.items() if takers[_key(new)] not in (None, new.job.id)}
        answers = yield from self._find_repeats(taken)  # rule: an old enqueue changes nothing
        taken = {at: new for at, new in taken.items() if at not in answers}
        inserts = {at: new for at, new in jobs.items() if at not in taken and at not in answers}
        changes: dict[int, _Change] = {}
        follows: dict[int, str] = {}
        for at, taker in (yield from self._find_takers(taken)).items():
            new = taken[at]
            match decide(new, taker):
                case Decision.INSERT:
                    inserts[at] = new
                case Decision.FOLLOW:
                    inserts[at] = new
                    follows[at] = taker.id
                case Decision.REPLACE:
                    assert taker.row is not None
                    changes[at] = _Change(new, taker.row.id)
                case Decision.RETURN:
                    assert taker.row is not None
                    answers[at] = Twin(taker.row, is_changed=False)
                case Decision.REFUSE:
                    answers[at] = Held(taker.id, taker.row and taker.row.status)
        answers.update((yield from self._insert(inserts, follows, notify)))
        answers.update((yield from self._replace(changes, notify)))
        return answers

    def _find_repeats(self, jobs: Mapping[int, UniqueJob]) -> Steps[dict[int, UniqueAnswer]]:
        """Of jobs whose keys others have, those that were put before, by their ids."""
        if not jobs:
            return {}
        return dict((yield from self._calls.find_taken({at: new.job for at, new in jobs.items()})))

    def _find_takers(self, jobs: Mapping[int, UniqueJob]) -> Steps[dict[int, Taker]]:
        if not jobs:
            return {}
        positions = list(jobs)
        rows = yield Statement("find_key_takers", _keys(jobs.values()))
        return {
            positions[number - 1]: Taker(
                taker_id, is_held, None if row[0] is None else JobRow._make(row)
            )
            for number, taker_id, is_held, *row in rows
        }

    def _insert(
        self, jobs: Mapping[int, UniqueJob], follows: Mapping[int, str], notify: Sequence[str]
    ) -> Steps[dict[int, UniqueAnswer]]:
        if not jobs:
            return {}
        news = jobs.values()
        parameters = {
            **given_arrays([new.job for new in news]),
            "key": array(new.key for new in news),
            "holding": plain_array(new.holding for new in news),
            "within": array(None if new.within is None else interval(new.within) for new in news),
            "follows": array(follows.get(at) for at in jobs),
            "channels": self._calls.channels(notify),
        }
        rows = yield Statement("enqueue_unique", parameters)
        created = {id: created_at for id, created_at, *_ in rows}
        answers: dict[int, UniqueAnswer] = {
            at: Enqueued(created[new.job.id], follows.get(at))
            for at, new in jobs.items()
            if new.job.id in created
        }
        others = {at: new for at, new in jobs.items() if at not in answers}
        answers.update((yield from self._find_repeats(others)))
        return answers

    def _replace(
        self, changes: Mapping[int, _Change], notify: Sequence[str]
    ) -> Steps[dict[int, UniqueAnswer]]:
        if not changes:
            return {}
        each = changes.values()
        parameters = {
            **given_arrays([change.new.job for change in each]),
            "twin_id": plain_array(change.twin_id for change in each),
            "moves": plain_array(str(change.new.then == "debounce").lower() for change in each),
            "channels": self._calls.channels(notify),
        }
        rows = yield Statement("replace_unique", parameters)
        changed = {row.id: row for row in (JobRow._make(row[:-1]) for row in rows)}
        return {
            at: Twin(changed[change.twin_id], is_changed=True)
            for at, change in changes.items()
            if change.twin_id in changed
        }


def _key(new: UniqueJob) -> _Key:
    return new.job.queue_name, new.key


def _keys(jobs: Iterable[UniqueJob]) -> dict[str, str]:
    names = [_key(new) for new in jobs]
    return {
        "queue_name": array(queue_name for queue_name, _ in names),
        "key": array(key for _, key in names),
    }


def _without_repeats(jobs: Mapping[int, UniqueJob]) -> Mapping[int, UniqueJob]:
    """The jobs but for those that have an id or a key of one before them.

    What becomes of those depends on what became of the one before.
    """
    seen: set[object] = set()
    first: dict[int, UniqueJob] = {}
    for at, new in jobs.items():
        if new.job.id not in seen and _key(new) not in seen:
            first[at] = new
        seen |= {new.job.id, _key(new)}
    return first
