"""Ids of the jobs that a job starts: the same whenever the job runs again.

They begin with the time in the parent's id, so that those of one parent lie together in the
primary key's index; then comes their number, so that what is started together keeps its order.
"""

from __future__ import annotations

import hashlib
from typing import Final
from uuid import UUID

_TIME: Final = (1 << 48) - 1
#: Of the bits that are left the first twenty are the number, and the others are the digest's.
_NUMBERS: Final = (1 << 20) - 1
_DIGEST: Final = (1 << 54) - 1
_VERSION: Final = 0x8 << 76
_VARIANT: Final = 0b10 << 62


def child_id(parent_id: str, nursery: str, key: str, number: int, incarnation: int) -> str:
    """The id of what a job starts.

    Args:
        parent_id: of the parent's first attempt.
        nursery: the name of the nursery, or its number among the parent's.
        key: the child's, which no other has in this nursery.
        number: its number in the nursery, if it has no key of its own; else 0.
        incarnation: how many attempts of the parent had failed before.
    """
    said = f"{parent_id}\0{nursery}\0{key}\0{incarnation}".encode()
    digest = int.from_bytes(hashlib.sha256(said).digest()[:8]) & _DIGEST
    time = UUID(parent_id).int >> 80 & _TIME
    # The version and the variant lie in between.
    high, low = divmod(number & _NUMBERS, 1 << 8)
    bits = time << 80 | _VERSION | high << 64 | _VARIANT | low << 54 | digest
    return str(UUID(int=bits))
