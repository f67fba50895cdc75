"""`m25 completion`: prints what lets a shell complete the arguments of `m25`."""

from __future__ import annotations

import argparse
from typing import Final

from ._console import Console
from ._exits import DONE, need

#: What argcomplete has code for.
_SHELLS: Final = ("bash", "zsh", "fish")

_DESCRIPTION: Final = """\
Print the code with which a shell completes the subcommands and options of m25, when Tab is pressed.
It asks m25 itself for them, and never a database. It needs m25[cli]."""

_EPILOG: Final = """\
exit codes:
  0  printed
  2  the command line is wrong, or argcomplete is not installed

to have it in each shell:
  echo 'eval "$(m25 completion bash)"' >> ~/.bashrc
  echo 'eval "$(m25 completion zsh)"' >> ~/.zshrc
  echo 'm25 completion fish | source' >> ~/.config/fish/config.fish
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.description = _DESCRIPTION
    parser.epilog = _EPILOG
    parser.add_argument("shell", choices=_SHELLS, metavar="SHELL", help=", ".join(_SHELLS))


def run(options: argparse.Namespace, console: Console) -> int:
    """Print it, and return the exit code."""
    need("completion", "cli", "argcomplete")
    from argcomplete.shell_integration import shellcode

    console.data(shellcode(["m25"], shell=options.shell))
    return DONE
