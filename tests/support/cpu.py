"""Queues whose handlers run in processes, at the top of a module that a process can import."""

from __future__ import annotations

import os
import stat
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


class NoUse(m25.GiveUp):
    pass


class Soon(m25.RetryAfter):
    def __init__(self) -> None:
        super().__init__(40)


class Later(m25.Snooze):
    def __init__(self) -> None:
        super().__init__(50)


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
        case "give up by its own class":
            raise NoUse("no use")
        case "again by its own class":
            raise Soon from Declined("later", order)
        case "put off by its own class":
            raise Later
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


@m25.queue("told to wait", runs="process", rate=m25.Rate(100), max_concurrency=1)
def told_to_wait(number: int) -> None:
    if number == 0:
        raise m25.RetryAfter(0.5, whole_rate=True)


def pid_file(path: str) -> None:
    """Say in a file which process this is."""
    new = Path(f"{path}.new")
    new.write_text(str(os.getpid()))
    new.rename(path)


@m25.queue("endless", runs="process", max_concurrency=1, cancel_grace=60)
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


@m25.queue("forks", runs="process", max_concurrency=1)
def forks(what: str) -> str:
    """Fork, and have the child come back from the handler like anybody, or raise."""
    if what != "nothing":
        child = os.fork()
        if child == 0:
            if what == "raise":
                raise ValueError("of the child")
            return "of the child"
        os.waitpid(child, 0)
    return f"of the handler: {what}"


@m25.queue("says more", runs="process", max_concurrency=1)
def says_more(number: int) -> int:
    """With 0, say something on the process's own socket, as what it has forked might."""
    if number == 0:
        for descriptor in range(3, 64):
            try:
                is_socket = stat.S_ISSOCK(os.fstat(descriptor).st_mode)
            except OSError:
                continue
            if is_socket:
                said = b'7 {"output": "7"}'
                os.write(descriptor, len(said).to_bytes(8, "big") + said)
    return number
