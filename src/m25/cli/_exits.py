"""How a command ends: its exit code, as --help lists it; and what is wrong with its arguments."""

from __future__ import annotations

from typing import Final

DONE: Final = 0
#: Not done, or not all of it; or something was found.
FAILED: Final = 1
#: argparse's own, too.
WRONG_USAGE: Final = 2


class WrongUsage(Exception):
    """The arguments, or what they name, are wrong: the message says what, and what to do.

    It may be raised anywhere in a command before the command has done anything; `main` prints it,
    and ends with `WRONG_USAGE`.
    """
