"""What is raised about places of limits that are held outside of jobs."""

from __future__ import annotations

from ._errors import M25Error


class PlaceLost(M25Error):
    """A place of a limit was lost while it was held, and others may have it: the block was
    cancelled, or has outlasted its lease.

    The database did not answer for nearly as long as the lease is, or the process stood still, or
    somebody has deleted the row. What the block did until then stays done. `limit` is the limit's
    name, and `key` that of the place, if the limit has one.
    """

    def __init__(self, limit: str, key: str | None) -> None:
        of_key = "" if key is None else f" of key {key[:80]!r}"
        super().__init__(
            f"the place of the limit {limit!r}{of_key} was lost while it was held: its lease could"
            " not be renewed in time, and others may have it by now"
        )
        self.limit = limit
        self.key = key
