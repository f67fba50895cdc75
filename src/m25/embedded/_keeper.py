"""The keeper, in one file since it runs as a script that can import the standard library alone.

It is a process of its own that starts a server, and stops the server when it is told to.

It is told to by its standard input: by a byte, or by the end of input, which comes when the program
that started it has ended, however that was.

Its one argument is a JSON object: `program` (a process id), `installations` (by version),
`version`, `directory` (both may be null) and `settings`. Its one line of output is another: `port`
and `password`, or `error`.

    program ── pipe ──▶ keeper ── PR_SET_PDEATHSIG ──▶ server

When one of the three ends, all to the right of it end too.

A directory that is kept holds `data`, the `password` for them, `server.log` and a `lock`; without
one, a temporary directory holds the same. Run by root, both stay root's own and only `data` are the
server's: nothing that root opens by name could have been put there by others.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import pwd
import secrets
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

_START_TIMEOUT: Final = 60.0  # seconds
_STOP_TIMEOUT: Final = 10.0  # seconds
#: How long the last keeper of a directory, or the rest of its server, may take to let it go: the
#: keeper of a killed program stops its server in order, which writes out what is in memory.
_LOCK_TIMEOUT: Final = 5.0  # seconds
#: How often another port is tried.
_PORT_TRIES: Final = 3
#: The time between two looks at a process, a file or a lock.
_POLL_INTERVAL: Final = 0.01  # seconds
_LOG_TAIL: Final = 2_000  # characters
#: The server refuses to run as root: root runs it as the first of these users that exists.
_USERS: Final = ("postgres", "nobody", "daemon")
#: The files that a directory may hold in which no server was started yet.
_OWN_FILES: Final = frozenset({"lock", "password", "server.log"})
_LEFT_OUT: Final = shutil.ignore_patterns("include", "pkgconfig", "man", "doc", "*.a")
_PR_SET_PDEATHSIG: Final = 1


class Failure(Exception):
    """The server cannot be started; the message is for the user."""


class ProgramGone(Exception):
    """The program that wants the server has ended, or wants it no longer."""


class _User(NamedTuple):
    """The user that the server is run as."""

    name: str
    uid: int
    gid: int


class _Program:
    """The program that wants the server: it holds the other end of standard input."""

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def is_gone(self, timeout: float) -> bool:
        """Whether it has ended, or said that it has; waits up to `timeout` seconds for that."""
        readable, _, _ = select.select([sys.stdin], [], [], timeout)
        # A child that the program forked may hold the pipe open after it.
        return bool(readable) or os.getppid() != self._pid


def main() -> None:
    """Do as the argument says until told to end."""
    # Ctrl-C and the like are for the program, which decides when the server ends.
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    # Else parents of a directory might be made that only this process can enter.
    os.umask(0o022)
    order = json.loads(sys.argv[1])
    try:
        user = _server_user()
        temporary = Path(tempfile.mkdtemp(prefix="m25-postgres-", dir=_temporary_root(user)))
        try:
            _keep(order, user, temporary)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except ProgramGone:
        pass
    except (Failure, OSError, subprocess.SubprocessError) as error:
        _answer({"error": str(error)})


def _keep(order: dict[str, Any], user: _User | None, temporary: Path) -> None:
    program = _Program(order["program"])
    if user is not None:
        temporary.chmod(0o711)
    kept = order["directory"] is not None
    home = Path(order["directory"]) if kept else temporary
    settings: dict[str, str] = order["settings"]
    if kept:
        _prepare(home, user)
    with _lock(home, program) as lock:
        installation = Path(order["installations"][_version(order, home)])
        installation = _reachable(installation, user, temporary)
        password = _initialise(program, installation, home, user, temporary, kept=kept)
        server, port = _start(program, installation, home, user, settings, lock)
        try:
            _answer({"port": port, "password": password})
            while server.poll() is None and not program.is_gone(1.0):
                pass
        finally:
            _stop(server, quickly=not kept)


# Users and directories


def _server_user() -> _User | None:
    """The user to run the server as; `None` for the user that this process has."""
    if os.geteuid() != 0:
        return None
    for name in _USERS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return _User(name, entry.pw_uid, entry.pw_gid)
    raise Failure(
        "PostgreSQL refuses to run as root, and here is none of the users that it could run as: "
        f"{', '.join(_USERS)}"
    )


def _temporary_root(user: _User | None) -> str | None:
    """Where a directory that the server can enter may be made."""
    if user is None:
        return None
    roots = (tempfile.gettempdir(), "/tmp", "/var/tmp")  # noqa: S108 - mkdtemp makes it safe
    for root in roots:
        if Path(root).is_dir() and _barrier(Path(root), user) is None:
            return root
    raise Failure(
        f"run by root the server runs as {user.name!r}, who can enter none of {', '.join(roots)}"
    )


def _barrier(path: Path, user: _User) -> Path | None:
    """The first directory on the way to a path, itself included, that a user cannot enter."""
    path = path.resolve()
    for directory in (*reversed(path.parents), path):
        if directory.is_dir() and not _allows(directory, user, 0o1):
            return directory
    return None


def _allows(path: Path, user: _User, wanted: int) -> bool:
    """Whether a file's mode gives a user the wanted rights: 4 to read, 1 to enter or to run."""
    about = path.stat()
    if about.st_uid == user.uid:
        wanted <<= 6
    elif about.st_gid == user.gid:
        wanted <<= 3
    return about.st_mode & wanted == wanted


def _hand_over(path: Path, user: _User | None) -> None:
    if user is not None:
        os.chown(path, user.uid, user.gid, follow_symlinks=False)


def _prepare(directory: Path, user: _User | None) -> None:
    """Make a directory for data that are kept, unless it is there."""
    if user is not None and (barrier := _barrier(directory.parent, user)) is not None:
        raise Failure(
            f"the directory {directory} is below {barrier}, which is closed to others; run by root "
            f"the server runs as {user.name!r}: choose a directory that it can reach"
        )
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Failure(f"the directory {directory} cannot be made: {error.strerror}") from error
    if user is None and not os.access(directory, os.W_OK | os.X_OK):
        raise Failure(f"the directory {directory} cannot be written to")
    if not (directory / "data" / "PG_VERSION").exists():
        # It may be any directory, and its mode and contents are about to become the server's.
        strangers = [
            entry.name
            for entry in directory.iterdir()
            if entry.name not in _OWN_FILES and not entry.name.startswith("unfinished-")
        ]
        if strangers:
            raise Failure(
                f"the directory {directory} is neither empty nor that of an embedded server: it "
                f"holds {strangers[0]!r}"
            )
    if user is not None and not _allows(directory, user, 0o1):
        directory.chmod(stat.S_IMODE(directory.stat().st_mode) | 0o011)


@contextlib.contextmanager
def _lock(home: Path, program: _Program) -> Any:
    """Hold a directory for one server at a time; yields the file descriptor that holds it."""
    # The server inherits the lock: it ends with the last of the server's processes, not before.
    held = _open(home / "lock")
    try:
        deadline = time.monotonic() + _LOCK_TIMEOUT
        while True:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise Failure(
                        f"the directory {home} is in use by another server; one at a time can use "
                        "it"
                    ) from None
                if program.is_gone(_POLL_INTERVAL):
                    raise ProgramGone from None
            else:
                break
        yield held
    finally:
        os.close(held)


def _version(order: dict[str, Any], home: Path) -> str:
    """The version to run: that of the data which are there, for no other can read them."""
    installations: dict[str, str] = order["installations"]
    wanted: str | None = order["version"]
    try:
        theirs = (home / "data" / "PG_VERSION").read_text().strip()
    except FileNotFoundError:
        return wanted or max(installations, key=int)
    if wanted not in {None, theirs}:
        raise Failure(
            f"the data in {home} are those of PostgreSQL {theirs}, which {wanted} cannot read"
        )
    if theirs not in installations:
        raise Failure(f"the data in {home} are those of PostgreSQL {theirs}, which is not here")
    return theirs


def _open(path: Path) -> int:
    """Open a file of ours, made if need be, that only we can read."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def _write(path: Path, text: str) -> None:
    with open(_open(path), "w") as file:
        file.truncate()
        file.write(text)


# The binaries


def _reachable(installation: Path, user: _User | None, temporary: Path) -> Path:
    """The binaries, where the server's user can reach them: put beside the data, if need be."""
    # The binary may be a link into another directory.
    binary = (installation / "bin" / "postgres").resolve()
    if user is None or (_barrier(binary.parent, user) is None and _allows(binary, user, 0o5)):
        return installation
    # The binaries find the wheel's libraries in a directory beside the package.
    package = installation.parent
    libraries = package.with_name(f"{package.name}.libs")
    program = temporary / "program"
    for source in (installation, libraries):
        _put_tree(source, program / source.relative_to(package.parent))
    return program / package.name / installation.name


def _put_tree(source: Path, target: Path) -> None:
    target.mkdir(0o755, parents=True)
    for parent, directories, files in os.walk(source):
        left_out = _LEFT_OUT(parent, [*directories, *files])
        directories[:] = [name for name in directories if name not in left_out]
        there = target / Path(parent).relative_to(source)
        for name in directories:
            (there / name).mkdir(0o755)
        for name in files:
            if name not in left_out:
                _put(Path(parent, name).resolve(), there / name)


def _put(source: Path, target: Path) -> None:
    """Link a file, which takes no time, or copy it so that all can read it."""
    mode = stat.S_IMODE(source.stat().st_mode)
    readable = mode | (0o555 if mode & 0o100 else 0o444)
    if mode == readable:
        # Refused from one file system to another.
        with contextlib.suppress(OSError):
            target.hardlink_to(source)
            return
    shutil.copyfile(source, target)
    target.chmod(readable & 0o755)


# Processes


def _spawn(
    command: list[str],
    user: _User | None,
    directory: Path,
    log: Path,
    last_signal: int,
    lock: int | None = None,
) -> subprocess.Popen[bytes]:
    """Start a program as the server's user; it gets `last_signal` when the keeper is no more."""
    environment = {name: value for name, value in os.environ.items() if name[:2] != "PG"}
    # The same messages and the same time zone everywhere, and none to be looked for.
    environment |= {"LC_ALL": "C", "TZ": "UTC"}
    with open(_open(log), "wb") as output:
        output.truncate()
        try:
            return subprocess.Popen(  # noqa: S603 - the wheel's own programs
                command,
                cwd=directory,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                user=None if user is None else user.uid,
                group=None if user is None else user.gid,
                extra_groups=None if user is None else [],
                pass_fds=() if lock is None else (lock,),
                # A lone prctl between fork and exec is safe, as there are no threads here.
                preexec_fn=_ending_with(os.getpid(), last_signal),  # noqa: PLW1509
            )
        except OSError as error:
            # Root in a user namespace, or without the capability, may not change its user.
            if user is None or error.errno not in {errno.EPERM, errno.EINVAL}:
                raise
            raise Failure(
                "PostgreSQL refuses to run as root, and this root may not run it as "
                f"{user.name!r}: {error.strerror}; run the program as an ordinary user"
            ) from error


def _ending_with(keeper: int, last_signal: int) -> Callable[[], None] | None:
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl

    def ask() -> None:
        prctl(_PR_SET_PDEATHSIG, last_signal)
        # The keeper had ended before the signal was asked for.
        if os.getppid() != keeper:
            os._exit(1)

    return ask


def _initialise(
    program: _Program,
    installation: Path,
    home: Path,
    user: _User | None,
    temporary: Path,
    *,
    kept: bool,
) -> str:
    """Make the data directory, unless it is there; return the password."""
    kept_password = home / "password"
    for leftover in home.glob("unfinished-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    if (home / "data" / "PG_VERSION").exists():
        try:
            return kept_password.read_text()
        except OSError as error:
            message = f"the data in {home} cannot be used without {kept_password}"
            raise Failure(f"{message}: {error.strerror}") from error
    password = secrets.token_urlsafe(24)
    # The file is removed with the temporary directory.
    handed = temporary / "password-for-initdb"
    _write(handed, password)
    _hand_over(handed, user)
    # Made aside and renamed: an interruption leaves no half-made data directory.
    unfinished = home / f"unfinished-{secrets.token_hex(4)}"
    unfinished.mkdir(0o700)
    _hand_over(unfinished, user)
    command = [str(installation / "bin" / "initdb"), "--pgdata", str(unfinished)]
    command += ["--username", "postgres", "--pwfile", str(handed), "--auth", "scram-sha-256"]
    command += ["--encoding", "UTF8", "--locale", "C", "--no-instructions"]
    # More iterations protect passwords that can be guessed, and slow down every connection.
    command += ["-c", "scram_iterations=1"]
    if not kept:
        command.append("--no-sync")
    log = temporary / "initdb.log"
    try:
        initdb = _spawn(command, user, home, log, signal.SIGTERM)
        while initdb.poll() is None:
            if program.is_gone(_POLL_INTERVAL):
                initdb.kill()
                initdb.wait()
                raise ProgramGone
        if initdb.returncode != 0:
            raise Failure(f"initdb failed: {_tail(log)}")
        if kept:
            _write(kept_password, password)
        unfinished.rename(home / "data")
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return password


def _start(
    program: _Program,
    installation: Path,
    home: Path,
    user: _User | None,
    settings: dict[str, str],
    lock: int,
) -> tuple[subprocess.Popen[bytes], int]:
    data, log = home / "data", home / "server.log"
    _forget_dead_server(data / "postmaster.pid")
    for _ in range(_PORT_TRIES):
        port = _free_port()
        own = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "port": str(port)}
        command = [str(installation / "bin" / "postgres"), "-D", str(data)]
        for name, value in {**settings, **own}.items():
            command += ["-c", f"{name}={value}"]
        server = _spawn(command, user, home, log, signal.SIGQUIT, lock)
        if _wait_until_ready(program, server, data / "postmaster.pid"):
            return server, port
        if "could not bind" not in _tail(log):
            break
    raise Failure(f"the server did not start; it said: {_tail(log)}")


def _forget_dead_server(pid_file: Path) -> None:
    """Remove what a server left that was killed, where its process's number is not free again.

    PostgreSQL takes any process of that number for the server: in a container, where numbers are
    few, an unrelated process; or the dead server itself, which was not reaped. It cannot be a live
    server: its processes would hold the lock that is held here.
    """
    with contextlib.suppress(OSError, ValueError):
        pid = int(pid_file.read_text().splitlines()[0])
        # The command line of a process that was not reaped is empty.
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        if str(pid_file.parent).encode() not in command:
            pid_file.unlink()


def _tail(log: Path) -> str:
    return log.read_text(errors="replace").strip()[-_LOG_TAIL:]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_ready(program: _Program, server: subprocess.Popen[bytes], pid_file: Path) -> bool:
    deadline = time.monotonic() + _START_TIMEOUT
    while server.poll() is None:
        try:
            lines = pid_file.read_text().splitlines()
        except OSError:
            lines = []
        # The eighth line is the server's state, the first its process, or an earlier server's.
        if len(lines) > 7 and lines[0] == str(server.pid) and lines[7].strip() == "ready":
            return True
        if program.is_gone(_POLL_INTERVAL):
            _stop(server, quickly=True)
            raise ProgramGone
        if time.monotonic() > deadline:
            _stop(server, quickly=True)
    return False


def _stop(server: subprocess.Popen[bytes], *, quickly: bool) -> None:
    # SIGQUIT ends at once, for data that nobody wants; SIGINT is an orderly end.
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


def _answer(answer: dict[str, Any]) -> None:
    # A program that has ended does not read; `is_gone` will find that out.
    with contextlib.suppress(OSError):
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
