"""Queues whose handlers run in processes, at the top of a module that a process can import."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import attrs

import m25

#: An expression that takes Python hours, in C, without looking at signals.
ENDLESS = 10**8


@attrs.frozen
class Order:
    what: str
    number: int = 0


@attrs.frozen
class Declined(Exception):
    reason: str
    order: Order


class Unkept:
    pass


@m25.queue("work", runs="process", errors=(Declined,), max_concurrency=2, default_job_timeout=30)
def work(order: Order) -> dict[str, Any]:
    match order.what:
        case "declined":
            raise Declined("no money", order)
        case "crash":
            raise ValueError("it broke")
        case "give up":
            raise m25.GiveUp("no use")
        case "again":
            raise m25.RetryAfter(40) from Declined("later", order)
        case "put off":
            raise m25.Snooze(50)
        case "exit":
            sys.exit(3)
        case "die":
            os._exit(3)
        case "current job":
            m25.current_job()
        case "unkept":
            return {"it": Unkept()}
        case "print":
            print("printed", order.number)
        case "sleep":
            time.sleep(order.number)
    return {"pid": os.getpid(), "number": order.number}


def pid_file(path: str) -> None:
    """Say in a file which process this is."""
    new = Path(f"{path}.new")
    new.write_text(str(os.getpid()))
    new.rename(path)


@m25.queue("endless", runs="process", max_concurrency=1)
def endless(path: str) -> int:
    """Work in C that looks at no signal, and that no exception can end."""
    pid_file(path)
    return len(str(9**ENDLESS))


@m25.queue("endless with a child", runs="process", max_concurrency=1)
def endless_with_a_child(path: str) -> int:
    """The same, and a process that it has started."""
    program = (
        f"import os, time; time.sleep(0.1); os.rename({path + '.new'!r}, {path!r}); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-S", "-c", program]) as child:
        # It says that it has started, by giving the file its name.
        Path(f"{path}.new").write_text(str(child.pid))
        return len(str(9**ENDLESS))
