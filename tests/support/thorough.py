"""How much of the same is tried: a part of it by default, and all of it in the session `slow`."""

from __future__ import annotations

import os
from typing import Final

import pytest

#: Whether all of it is asked for.
IS_THOROUGH: Final = os.environ.get("M25_TEST_THOROUGH") == "1"

#: For tests and modules of which `slow` runs more: it runs them, too.
thorough: Final = pytest.mark.thorough


def tries(all_of_them: int, part: int) -> int:
    """How many of the same to try."""
    return all_of_them if IS_THOROUGH else part
