"""Which start of a nursery is which, in this run of its job and in later ones."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from ._base_queue import BaseQueue
from ._children import NewOne
from ._errors import UsageError, ValueRefused
from ._store.protocol import NewJob
from ._text import check_text


class StartNames:
    """How one block uses keys, and numbers what has none: of children, or of detached jobs.

    A call that has raised may be made again, and then it is the same start: the answer to it may be
    lost, and its job there all the same.

    Args:
        new_job: makes the row of what is to be started, to compare it with others.
    """

    def __init__(self, new_job: Callable[[NewOne], NewJob]) -> None:
        self._new_job = new_job
        self._keys: set[str] = set()
        #: How many had no key, for each queue.
        self._counts = Counter[str]()
        #: What came to nothing: by key, and in order what had none.
        self._undone = dict[str, NewOne]()
        self._undone_without = defaultdict[str, list[NewOne]](list)

    def new(
        self,
        queue: BaseQueue[Any, Any, Any],
        job: object,
        key: str | None,
        make_ids: Callable[[str, int], Sequence[str]],
    ) -> NewOne:
        """What is to be started by a call; `make_ids` is given what names it, and its number.

        Raises:
            UsageError: another one has the key.
            ValueError: the key is empty, or no text.
        """
        if key is not None:
            check_text(key, "the key of a job that is started", ValueError)
            if key in self._keys:
                raise UsageError(f"another job of this nursery has the key {key!r}")
            undone = self._undone.pop(key, None)
            self._keys.add(key)
            return NewOne(queue, job, make_ids(f"={key}", 0) if undone is None else undone.ids)
        without = self._undone_without[queue.name]
        for at, undone in enumerate(without):
            again = NewOne(queue, job, undone.ids)
            if self._is_same(undone, again):  # rule: a start that is called again is the same
                del without[at]
                return again
        number = self._counts[queue.name]
        self._counts[queue.name] += 1
        return NewOne(queue, job, make_ids(f"{queue.name} #{number}", number))

    def give_back(self, news: Sequence[NewOne], keys: Sequence[str | None]) -> None:
        """Note that the call has raised which was to start these."""
        for new, key in zip(news, keys, strict=True):
            if key is None:
                self._undone_without[new.queue.name].append(new)
            else:
                self._keys.discard(key)  # rule: what was not started gives its key back
                self._undone[key] = new

    def _is_same(self, one: NewOne, other: NewOne) -> bool:
        try:
            return self._new_job(one) == self._new_job(other)
        except ValueRefused:
            return False
