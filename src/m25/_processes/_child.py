"""A process that calls a function whenever it is asked to. A script, with the stdlib alone.

Its argument is the number of a socket's file descriptor. Messages on it are a length in eight bytes
and as many bytes of UTF-8. The first is an order, as JSON: `path` (of modules), `argv`, `main`
(null, or the program's main module, as `name` or `path`), `module`, `function` and `arguments`. The
function is called with the arguments, and returns another. The first answer is empty, or says why
the function cannot be had. Each message that follows is a number, a space and a text: the function
is called with the text, and the answer is the same number, a space and what it has returned.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import runpy
import signal
import socket
import sys
import traceback
import types
from collections.abc import Callable
from typing import Any, NoReturn


def main() -> None:
    """Serve until the program closes its end of the socket."""
    # Ctrl-C is for the program, which decides what becomes of its processes.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection = socket.socket(fileno=int(sys.argv[1]))
    # Processes that the function starts must not hold it open.
    os.set_inheritable(connection.fileno(), False)
    order = _receive(connection)
    if order is None:
        return
    try:
        call = _prepare(json.loads(order))
    except BaseException as error:  # noqa: BLE001 - a module's own code may raise anything
        trace = "".join(traceback.format_exception(error))
        reason = traceback.format_exception_only(error)[-1].strip()
        _send(connection, json.dumps({"reason": reason, "traceback": trace}))
        return
    _send(connection, "")
    own = os.getpid()
    while (request := _receive(connection)) is not None:
        number, _, text = request.partition(" ")
        answer = call(text)
        if os.getpid() != own:
            _end_fork()
        _send(connection, f"{number} {answer}")


def _end_fork() -> NoReturn:
    """End a child that the function has forked: the answer is its parent's to give."""
    message = (
        f"m25: process {os.getpid()}, which a handler has forked, has come back from the handler:"
        " what it returned or raised there is discarded, and it ends; end it by os._exit()\n"
    )
    with contextlib.suppress(OSError):
        os.write(2, message.encode())
    # Nothing else is run: buffers and exit handlers are its parent's.
    os._exit(1)


def _prepare(order: dict[str, Any]) -> Callable[[str], str]:
    sys.path[:] = order["path"]
    sys.argv[:] = order["argv"]
    if order["main"] is not None:
        _import_main(order["main"])
    make: Any = getattr(importlib.import_module(order["module"]), order["function"])
    call: Callable[[str], str] = make(*order["arguments"])
    return call


def _import_main(main: dict[str, str]) -> None:
    """Import the program's main module by another name, as multiprocessing does."""
    if "name" in main:
        content = runpy.run_module(main["name"], run_name="__mp_main__", alter_sys=True)
    else:
        content = runpy.run_path(main["path"], run_name="__mp_main__")
    module = types.ModuleType("__mp_main__")
    module.__dict__.update(content)
    sys.modules["__main__"] = sys.modules["__mp_main__"] = module


def _send(connection: socket.socket, text: str) -> None:
    message = text.encode()
    connection.sendall(len(message).to_bytes(8, "big") + message)


def _receive(connection: socket.socket) -> str | None:
    length = _exactly(connection, 8)
    if length is None:
        return None
    message = _exactly(connection, int.from_bytes(length, "big"))
    return None if message is None else message.decode()


def _exactly(connection: socket.socket, count: int) -> bytes | None:
    message = bytearray()
    while len(message) < count:
        received = connection.recv(min(count - len(message), 1_048_576))
        if not received:
            return None
        message += received
    return bytes(message)


if __name__ == "__main__":
    main()
