"""What changes many rows asks first, or is told with `--yes` that it is meant."""

from __future__ import annotations

import argparse
import sys

from ._console import Console
from ._exits import WrongUsage


class NotConfirmed(WrongUsage):
    """Nobody has said that it is meant; the message says what to do."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare `--yes` and `--dry-run`."""
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would be done, and change nothing"
    )


def confirm(question: str, options: argparse.Namespace, console: Console) -> bool:
    """Ask the person at the terminal, unless `--yes` is given; return whether it is meant.

    Raises:
        NotConfirmed: there is no person.
    """
    if options.yes:
        return True
    if not sys.stdin.isatty():
        raise NotConfirmed(f"{question} Nobody is there to be asked: say so with --yes")
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() in ("y", "yes"):
        return True
    console.say("nothing was changed")
    return False
