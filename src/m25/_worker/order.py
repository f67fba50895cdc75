"""Where the claims of an ordered queue go on: from which key, and behind which job."""

from __future__ import annotations

from .._store.protocol import ClaimedInOrder, Walked


class Keys:
    """One for each manager of an ordered queue."""

    def __init__(self) -> None:
        #: From which key on the next claim looks; "" is the first.
        self.from_key = ""
        #: Behind which job it looks for jobs that have no place; `None` is from the first on.
        self.after: Walked | None = None
        #: Whether claims have come to the last key, and to the last pending job, since they found
        #: anything that calls for another one.
        self._has_seen_keys = self._has_seen_jobs = False

    def claimed(self, claimed: ClaimedInOrder) -> bool:
        """A claim was answered; return whether another might find more at once."""
        self.from_key = claimed.next_key or ""
        self.after = claimed.walked
        self._has_seen_keys |= claimed.next_key is None
        self._has_seen_jobs |= claimed.walked is None
        has_seen_all = self._has_seen_keys and self._has_seen_jobs
        if claimed.has_more or has_seen_all:
            self._has_seen_keys = self._has_seen_jobs = False
        return not claimed.is_full and (claimed.has_more or not has_seen_all)
