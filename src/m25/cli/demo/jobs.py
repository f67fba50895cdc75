"""The demo's two queues: what their jobs take, what they return, and what they may raise.

The workers import this, and so does the program that enqueues; they have nothing else in common.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
from pathlib import Path
from typing import Final

import attrs
import trio

import m25

#: Short intervals, so that the demo is short: a worker that is gone is noticed three seconds after
#: its sessions are. One that only stands still for a while keeps its jobs, also on a machine that
#: is busy. In production the defaults are right.
SHORT_INTERVALS: Final[m25.QueueOptions] = {
    "max_concurrency": 4,
    "poll_interval": 0.5,
    "heartbeat_interval": 0.5,
    "allowed_heartbeat_misses": 40,
}


# Sources: read a Python file.


@attrs.frozen
class SourceFile:
    """A file to be read."""

    path: str


@attrs.frozen
class Facts:
    """What is in a source file."""

    lines: int
    functions: int
    classes: int


@attrs.frozen
class NotText(Exception):
    """The file's bytes are not in the encoding that it should have."""

    path: str
    reason: str


@attrs.frozen
class NotPython(Exception):
    """The file's text is not Python, or not the Python that runs this."""

    path: str
    line: int | None
    reason: str


def examine(path: str) -> Facts:
    """Read and parse a source file.

    Raises:
        NotText, NotPython: it does not decode, or does not parse.
    """
    try:
        text = importlib.util.decode_source(Path(path).read_bytes())
    except (UnicodeDecodeError, SyntaxError) as error:
        raise NotText(path, str(error)) from error
    try:
        nodes = list(ast.walk(ast.parse(text)))
    except SyntaxError as error:
        raise NotPython(path, error.lineno, error.msg) from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise NotPython(path, None, str(error)) from error
    return Facts(
        lines=len(text.splitlines()),
        functions=sum(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) for node in nodes),
        classes=sum(isinstance(node, ast.ClassDef) for node in nodes),
    )


@m25.queue("sources", errors=(NotText, NotPython), **SHORT_INTERVALS)
async def sources(file: SourceFile) -> Facts:
    """Read a source file: in a thread, since parsing would keep every other task waiting."""
    return await trio.to_thread.run_sync(examine, file.path)


# Arrivals: wait for a file.


@attrs.frozen
class Arrival:
    """A file that is to arrive; the first `locked_for` attempts find it locked."""

    path: str
    locked_for: int = 0


@attrs.frozen
class Receipt:
    """The proof that a file was taken in."""

    size: int
    sha256: str


@attrs.frozen
class Locked(Exception):
    """The file cannot be read yet."""

    path: str
    attempt: int


@m25.queue("arrivals", errors=(Locked,), **SHORT_INTERVALS)
async def arrivals(arrival: Arrival) -> Receipt:
    """Wait for a file to arrive, for as long as the job may take, and acknowledge it."""
    attempt = m25.current_job().attempt
    if attempt <= arrival.locked_for:
        raise Locked(arrival.path, attempt)
    file = trio.Path(arrival.path)
    while not await file.exists():  # noqa: ASYNC110 - a folder sends no events
        await trio.sleep(0.05)
    return receipt(await file.read_bytes())


def receipt(content: bytes) -> Receipt:
    """Acknowledge a file's content."""
    return Receipt(len(content), hashlib.sha256(content).hexdigest())
