"""The keeper: a process of its own that starts a server, and stops it when its standard input ends.

That is when the program that started it closes the pipe, or is no more, however it ended. It is run
as a script, in an isolated interpreter: the standard library is all that it may import.

Its one argument is a JSON object: `installation`, `directory` (or null) and `settings`. Its one line
of output is another: `port` and `password`, or `error`.
"""

from __future__ import annotations

import json
import os
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

_START_TIMEOUT = 60.0  # seconds
_STOP_TIMEOUT = 10.0  # seconds
_TRIES = 3
_INTERVAL = 0.01  # seconds
_LOG_TAIL = 2_000  # characters
#: As which users root may run the server, which refuses to run as root; the first that exists.
_USERS = ("postgres", "nobody")


class Failure(Exception):
    """The server cannot be started; the message is for the user."""


class ParentGone(Exception):
    """The program that wants the server has ended."""


def main() -> None:
    """Do as the argument says until standard input ends."""
    # Ctrl-C and the like are for the program; it decides when the server ends.
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    order = json.loads(sys.argv[1])
    user = _server_user()
    temporary = Path(tempfile.mkdtemp(prefix="m25-postgres-", dir=_temporary_root(user)))
    try:
        _keep(order, user, temporary)
    except ParentGone:
        pass
    except (Failure, OSError, subprocess.SubprocessError) as error:
        _answer({"error": str(error)})
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _keep(order: dict[str, Any], user: _User | None, temporary: Path) -> None:
    _hand_over(temporary, user)
    home = Path(order["directory"] or temporary)
    if order["directory"]:
        _prepare(home, user)
    installation = _reachable(Path(order["installation"]), user, temporary)
    password = _initialise(installation, home, user, temporary, kept=bool(order["directory"]))
    server, port = _start(installation, home, user, order["settings"])
    try:
        _answer({"port": port, "password": password})
        while server.poll() is None and not _parent_gone(1.0):
            pass
    finally:
        _stop(server, quickly=not order["directory"])


class _User:
    def __init__(self, name: str, uid: int, gid: int) -> None:
        self.name = name
        self.uid = uid
        self.gid = gid


def _server_user() -> _User | None:
    """As whom to run the server; `None` for whoever we are."""
    if os.geteuid() != 0:
        return None
    import pwd

    for name in _USERS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return _User(name, entry.pw_uid, entry.pw_gid)
    raise SystemExit(_answer({"error": f"root cannot run PostgreSQL, and has none of {_USERS}"}))


def _temporary_root(user: _User | None) -> str | None:
    """Where a directory that the server can enter may be made."""
    if user is None:
        return None
    for root in (tempfile.gettempdir(), "/tmp", "/var/tmp"):  # noqa: S108 - mkdtemp makes it safe
        if os.path.isdir(root) and _barrier(Path(root)) is None:  # noqa: PTH112
            return root
    return None


def _barrier(path: Path) -> Path | None:
    """The first directory on the way to a path that others than its owner cannot enter."""
    for directory in (*reversed(path.parents), path):
        if directory.exists() and not directory.stat().st_mode & 0o001:
            return directory
    return None


def _hand_over(path: Path, user: _User | None) -> None:
    if user is not None:
        os.chown(path, user.uid, user.gid)


def _prepare(directory: Path, user: _User | None) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Failure(f"the directory {directory} cannot be made: {error.strerror}") from error
    if user is None:
        if not os.access(directory, os.W_OK | os.X_OK):
            raise Failure(f"the directory {directory} cannot be written to")
        return
    if (barrier := _barrier(directory.parent)) is not None:
        raise Failure(
            f"the directory {directory} is below {barrier}, which only its owner can enter; run by "
            f"root the server runs as {user.name!r}: choose a directory that it can reach"
        )
    _hand_over(directory, user)


def _reachable(installation: Path, user: _User | None, temporary: Path) -> Path:
    """The binaries, where the server's user can reach them: copied, if need be."""
    if user is None or _barrier(installation / "bin") is None:
        return installation
    # The libraries that the wheel brings are found by their place beside the package.
    package = installation.parent
    libraries = package.with_name(f"{package.name}.libs")
    copy = temporary / package.name / installation.name
    shutil.copytree(installation, copy, symlinks=True)
    if libraries.is_dir():
        shutil.copytree(libraries, temporary / libraries.name, symlinks=True)
        (temporary / libraries.name).chmod(0o755)
    copy.chmod(0o755)
    copy.parent.chmod(0o755)
    return copy


def _run(command: list[str], user: _User | None, directory: Path) -> None:
    done = subprocess.run(
        command,
        cwd=directory,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        **_identity(user),
    )
    if done.returncode != 0:
        raise Failure(f"{Path(command[0]).name} failed: {done.stderr.strip()[-_LOG_TAIL:]}")


def _identity(user: _User | None) -> dict[str, Any]:
    return {} if user is None else {"user": user.uid, "group": user.gid, "extra_groups": []}


def _initialise(
    installation: Path, home: Path, user: _User | None, temporary: Path, *, kept: bool
) -> str:
    """Make the data directory, unless it is there; return the password."""
    kept_password = home / "password"
    if (home / "data" / "PG_VERSION").exists():
        return kept_password.read_text()
    password = secrets.token_urlsafe(24)
    # Removed with the temporary directory, if not before.
    handed = temporary / "password-for-initdb"
    handed.touch(0o600)
    handed.write_text(password)
    _hand_over(handed, user)
    # Made aside and renamed: what is interrupted leaves no half-made data directory.
    unfinished = home / f"unfinished-{secrets.token_hex(4)}"
    command = [str(installation / "bin" / "initdb"), "--pgdata", str(unfinished)]
    command += ["--username", "postgres", "--pwfile", str(handed), "--auth", "scram-sha-256"]
    command += ["--encoding", "UTF8", "--locale", "C"]
    if not kept:
        command.append("--no-sync")
    try:
        _run(command, user, home)
        if kept:
            kept_password.touch(0o600)
            kept_password.write_text(password)
        unfinished.rename(home / "data")
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return password


def _start(
    installation: Path, home: Path, user: _User | None, settings: dict[str, str]
) -> tuple[subprocess.Popen[bytes], int]:
    data, log = home / "data", home / "server.log"
    for _ in range(_TRIES):
        if _parent_gone(0):
            raise ParentGone
        port = _free_port()
        own = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "port": str(port)}
        command = [str(installation / "bin" / "postgres"), "-D", str(data)]
        for name, value in {**settings, **own}.items():
            command += ["-c", f"{name}={value}"]
        with log.open("wb") as output:
            server = subprocess.Popen(
                command,
                cwd=home,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                **_identity(user),
            )
        if _wait_until_ready(server, data / "postmaster.pid"):
            return server, port
        said = log.read_text(errors="replace")
        if "could not bind" not in said:
            break
    raise Failure(f"the server did not start; it said: {said.strip()[-_LOG_TAIL:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_ready(server: subprocess.Popen[bytes], pid_file: Path) -> bool:
    deadline = time.monotonic() + _START_TIMEOUT
    while server.poll() is None:
        try:
            lines = pid_file.read_text().splitlines()
        except OSError:
            lines = []
        # The eighth line is the server's state; the first its process, or that of one long gone.
        if len(lines) > 7 and lines[0] == str(server.pid) and lines[7].strip() == "ready":
            return True
        if _parent_gone(_INTERVAL) or time.monotonic() > deadline:
            _stop(server, quickly=True)
            if time.monotonic() > deadline:
                return False
            raise ParentGone
    return False


def _stop(server: subprocess.Popen[bytes], *, quickly: bool) -> None:
    # Immediate, for data that nobody wants; else fast, which is an orderly end.
    for number in (signal.SIGQUIT,) if quickly else (signal.SIGINT, signal.SIGQUIT):
        if server.poll() is None:
            server.send_signal(number)
        try:
            server.wait(_STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            continue
        return
    server.kill()
    server.wait()


def _parent_gone(patience: float) -> bool:
    """Whether standard input has ended; waits up to `patience` seconds for it."""
    readable, _, _ = select.select([sys.stdin], [], [], patience)
    return bool(readable) and not os.read(sys.stdin.fileno(), 1)


def _answer(answer: dict[str, Any]) -> None:
    # A program that is gone does not read; that is found out elsewhere.
    try:
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    except OSError:
        pass


if __name__ == "__main__":
    main()
