"""Where a command writes: data on stdout, messages on stderr."""

from __future__ import annotations

import sys


class Console:
    """The two streams of a command; `silent` leaves out what is neither data nor an error."""

    def __init__(self) -> None:
        self.silent = False

    def data(self, text: str) -> None:
        """Write what was asked for, as it is."""
        sys.stdout.write(text)

    def say(self, message: str) -> None:
        """Tell whoever watches, unless silent."""
        if not self.silent:
            sys.stderr.write(f"{message}\n")

    def error(self, message: str) -> None:
        """Tell why it did not work."""
        sys.stderr.write(f"m25: {message}\n")
