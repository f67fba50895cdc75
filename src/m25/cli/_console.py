"""Where a command writes: data on stdout, messages on stderr."""

from __future__ import annotations

import sys


class Console:
    """The two streams of a command; with `silent`, `say` writes nothing."""

    def __init__(self) -> None:
        self.silent = False

    def data(self, text: str) -> None:
        """Write the command's output, as it is."""
        sys.stdout.write(text)

    def say(self, message: str) -> None:
        """Write a message for the user, unless silent."""
        if not self.silent:
            sys.stderr.write(f"{message}\n")

    def error(self, message: str) -> None:
        """Write why the command failed."""
        sys.stderr.write(f"m25: {message}\n")
