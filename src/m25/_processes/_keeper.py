"""Kills the processes of a program that has ended, however it has ended. A script, stdlib alone.

Its standard input says which processes there are: `+PID` and `-PID`, a line each. The end of input
comes when the program has ended. Each process leads a group, and is killed with its group.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
from typing import Final

#: How often the program is looked at where its end is not noticed otherwise, in seconds.
_POLL_INTERVAL: Final = 1.0


def main() -> None:
    """Keep note of processes until the program has ended; then kill those that are left."""
    # What ends the program ends this, too, afterwards.
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    program = int(sys.argv[1])
    pids: set[int] = set()
    rest = b""
    while True:
        readable, _, _ = select.select([0], [], [], _POLL_INTERVAL)
        if readable:
            said = os.read(0, 65_536)
            if not said:
                break
            *lines, rest = (rest + said).split(b"\n")
            for line in lines:
                (pids.add if line[:1] == b"+" else pids.discard)(int(line[1:]))
        elif os.getppid() != program:
            # A child that the program forked may hold the pipe open after it.
            break
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
