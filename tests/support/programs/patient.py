"""Runs another program, as `python program.py arguments` would, whose queues may start late:
`python patient.py program.py arguments`.
"""

from __future__ import annotations

import runpy
import sys

from m25 import M25

#: In seconds; users are not to wait so long, but tests that keep a machine busy are.
START_TIMEOUT = 60.0

if __name__ == "__main__":
    for call in (M25.start, M25.run):
        assert call.__defaults__ == (5.0,)
        call.__defaults__ = (START_TIMEOUT,)
    del sys.argv[0]
    runpy.run_path(sys.argv[0], run_name="__main__")
