"""Runs what a command does until it is stopped, and tells what has ended it otherwise."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import psycopg
import trio

from .._errors import M25Error
from .._groups import unwrapped
from ._console import Console
from ._exits import DONE, FAILED


def run_until_stopped(program: Callable[[], Awaitable[None]], console: Console, target: str) -> int:
    """Run what a command does until it is stopped, and return the exit code.

    Args:
        program: what it does.
        console: where it is told what the database, or an address, has refused.
        target: the database, in words.
    """
    try:
        with unwrapped():
            trio.run(program)
    except (M25Error, psycopg.Error, OSError) as error:
        console.error(f"{error} ({target})")
        return FAILED
    return DONE
