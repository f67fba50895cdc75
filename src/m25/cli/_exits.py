"""How a command ends: its exit code, as --help lists it; and what is wrong with its arguments."""

from __future__ import annotations

import importlib.util
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


class CannotStart(Exception):
    """What the command needs of this machine cannot be had: the message says what.

    `main` prints it, and ends with `FAILED`.
    """


def need(what: str, extra: str, *modules: str) -> None:
    """Check that there is what a command, or an option, needs beside m25.

    Args:
        what: the command, or the option.
        extra: which extra of m25's has it.
        modules: what is imported.

    Raises:
        WrongUsage: something is missing.
    """
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise WrongUsage(f"{what} needs {', '.join(missing)}: pip install 'm25[{extra}]'")
