"""`python -m m25.embedded`: a server for as long as somebody tries things out."""

from __future__ import annotations

import argparse
import shlex
import signal
import sys

import trio

from ._launch import EmbeddedError, postgres

_DESCRIPTION = """\
Run a PostgreSQL out of a wheel until Ctrl-C or SIGTERM, and print the line that tells other
terminals where it is. Without a directory its data are gone with it."""


def main() -> int:
    """Run it, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m m25.embedded", description=_DESCRIPTION)
    parser.add_argument(
        "directory",
        nargs="?",
        metavar="DIRECTORY",
        help="where the data are kept for the next time",
    )
    options = parser.parse_args()
    try:
        trio.run(_serve, options.directory)
    except EmbeddedError as error:
        sys.stderr.write(f"m25.embedded: {error}\n")
        return 1
    return 0


async def _serve(directory: str | None) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with postgres(directory) as conninfo:
            sys.stdout.write(f"export DATABASE_URL={shlex.quote(conninfo)}\n")
            sys.stdout.flush()
            async for _ in signals:
                return


if __name__ == "__main__":
    sys.exit(main())
