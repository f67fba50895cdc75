"""The command: `m25`, or `python -m m25`.

A subcommand is a module of this package, imported when it is asked for, with two functions:
`configure(parser)` declares its options, and `run(options, console)` runs it and returns the exit
code.
"""

from __future__ import annotations

import argparse
import importlib
import os
import re
import sys
from collections.abc import Sequence
from typing import Final, NoReturn, Protocol, cast

from ._console import Console
from ._exits import FAILED, WRONG_USAGE, CannotStart, WrongUsage

#: Every subcommand, and what it does.
COMMANDS: Final = {
    "worker": "run the queues of modules, in one process or several",
    "migrate": "print the SQL that a database still needs, or apply it",
    "queues": "list queues, with what is on them",
    "jobs": "find jobs by what they are",
    "show": "show all that is known of a job",
    "retry": "have jobs tried once more that have failed",
    "skip": "let jobs go on that are behind those which have failed",
    "cancel": "cancel jobs, also while they run",
    "delete": "delete jobs that have ended",
    "pause": "let no job of a queue begin",
    "resume": "let the jobs of a queue begin again",
    "prune": "delete the jobs of a queue that ended long ago",
    "schedules": "list schedules, and pause or resume one",
    "limits": "list how many jobs may run at once, and set it",
    "web": "show queues, jobs and workers in the browser",
    "top": "show queues and workers as they are now, again and again",
    "stack": "print where the handler of a running job waits",
    "doctor": "look for what is wrong with a database, and say what to do",
    "completion": "print what lets a shell complete the arguments of m25",
    "demo": "run real jobs on real files, and check what became of them",
}

#: The beginning of an address, whose rest may hold a password.
_PASSWORD: Final = re.compile(r"(pass\w*\s*=|://).*", re.IGNORECASE | re.DOTALL)

#: A shell sets it where it asks for completions.
_COMPLETING: Final = "_ARGCOMPLETE"

#: The exit code of a program that Ctrl-C ended, as shells have it.
_INTERRUPTED: Final = 130


class Command(Protocol):
    """The module of a subcommand."""

    def configure(self, parser: argparse.ArgumentParser, /) -> None:
        """Declare the options."""

    def run(self, options: argparse.Namespace, console: Console, /) -> int:
        """Run the subcommand, and return the exit code."""
        ...


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command of these arguments, or the process's own, and return its exit code.

    Raises:
        SystemExit: the arguments are wrong (2), or ask for help or the version (0).
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    if _COMPLETING in os.environ:
        _complete(os.environ.get("COMP_LINE", ""))
    _open_closed_streams()
    console = Console()
    try:
        options = _parser(arguments).parse_args(arguments)
        code = _load(options.command).run(options, console)
        sys.stdout.flush()
    except WrongUsage as error:
        console.error(str(error))
        return WRONG_USAGE
    except CannotStart as error:
        console.error(str(error))
        return FAILED
    except KeyboardInterrupt:
        console.error("interrupted")
        return _INTERRUPTED
    except BrokenPipeError:
        # The program that read the output has ended, as in `m25 migrate | head`. Python writes the
        # rest of its buffer when it ends: into nothing now, so that this does not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code


def _open_closed_streams() -> None:
    """Let what is written where nobody reads go into nothing.

    A program may be started with stdin, stdout or stderr closed. Their numbers would be those of
    the next files that are opened, and of sockets: what a library prints would come to a server.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            # It has the lowest number that is free, which is this one.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
        if getattr(sys, name) is None:
            mode = "w" if number else "r"
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    parser = _Parser(prog="m25", description="Background jobs for Trio, with PostgreSQL.")
    parser.add_argument("--version", action=_Version)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, summary in COMMANDS.items():
        subparser = commands.add_parser(
            name, help=summary, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        # The modules of other subcommands are not imported, so that help and usage come at once.
        if name in arguments:
            _load(name).configure(subparser)
    return parser


def _complete(line: str) -> None:
    """Answer a shell that wants to know how its line may go on, and end; see `m25 completion`."""
    import argcomplete

    argcomplete.autocomplete(_parser(line.split()))


def _load(name: str) -> Command:
    return cast("Command", importlib.import_module(f"{__name__}.{name}"))


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        # argparse repeats arguments that it does not understand. One may be a part of an address
        # that was not quoted.
        super().error(_PASSWORD.sub(r"\1…", message))


class _Version(argparse.Action):
    def __init__(self, option_strings: Sequence[str], dest: str) -> None:
        super().__init__(option_strings, dest, nargs=0, help="print the version, and exit")

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version

        sys.stdout.write(f"m25 {version('m25')}\n")
        parser.exit()
