"""Commands, run in the process of their test."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

#: Runs a command; returns the exit code, and what it wrote on each stream.
Run: TypeAlias = Callable[..., tuple[int, str, str]]
