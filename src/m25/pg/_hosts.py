"""Which hosts a connection is tried on, in which order, and the addresses of their names."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from functools import partial
from random import shuffle
from typing import Any, Final

import psycopg
import trio
from psycopg._conninfo_utils import get_param, is_ip_address, split_attempts
from psycopg.abc import ConnDict, ConnMapping
from psycopg.conninfo import timeout_from_conninfo

from ._conninfo import with_liveness

#: How many names are resolved at once at most, as many as in Trio's own threads.
_RESOLVED_AT_ONCE: Final = 40
#: For how long a host that let a connection wait until its time was up is tried after all others,
#: in seconds: a process opens several connections when it starts, and each would wait for it.
_SILENT_FOR: Final = 15.0
_silent: Final = trio.lowlevel.RunVar[dict[tuple[str, str], float] | None](
    "m25.pg silent hosts", default=None
)
_limiter: Final = trio.lowlevel.RunVar[trio.CapacityLimiter | None]("m25.pg names", default=None)


async def timed_attempts(
    params: ConnDict, liveness: Mapping[str, str]
) -> tuple[list[ConnDict], float]:
    """The attempts to make, in order, and how long each may take, in seconds.

    Raises:
        psycopg.OperationalError: no host's name could be resolved.
    """
    lively = with_liveness(params, liveness)
    timeout: float = timeout_from_conninfo(lively)
    found = await attempts(params)
    if "connect_timeout" in lively.keys() - params.keys():
        # A silent host leaves time for those after it.
        timeout /= len(found)
    return found, timeout


async def attempts(params: ConnMapping) -> list[ConnDict]:
    """Split connection parameters into single attempts, in the order in which to make them.

    Raises:
        psycopg.OperationalError: no host's name could be resolved.
    """
    prefers_standby = get_param(params, "target_session_attrs") == "prefer-standby"
    if prefers_standby:
        params = {key: value for key, value in params.items() if key != "target_session_attrs"}
    found: list[ConnDict] = []
    failure: psycopg.OperationalError | None = None
    for attempt in split_attempts(params):
        try:
            found += await _resolve(attempt)
        except OSError as error:
            failure = psycopg.OperationalError(
                f"failed to resolve host {attempt.get('host')!r}: {error}"
            )
            failure.__cause__ = error
    if failure is not None and not found:
        raise failure
    if get_param(params, "load_balance_hosts") == "random":
        shuffle(found)
    silent, now = _silent_hosts(), trio.current_time()
    # rule: a silent host is tried last
    found.sort(key=lambda attempt: silent.get(_place(attempt), now) > now)
    if prefers_standby:
        return [{**attempt, "target_session_attrs": "standby"} for attempt in found] + found
    return found


def note_silent(attempt: ConnMapping) -> None:
    """Note that a host did not answer in the time that it had."""
    silent, now = _silent_hosts(), trio.current_time()
    for place in [place for place, until in silent.items() if until <= now]:
        del silent[place]
    silent[_place(attempt)] = now + _SILENT_FOR


def _silent_hosts() -> dict[tuple[str, str], float]:
    """Until when each host is tried last, by Trio's clock."""
    silent = _silent.get()
    if silent is None:
        silent = dict[tuple[str, str], float]()
        _silent.set(silent)
    return silent


def _place(attempt: ConnMapping) -> tuple[str, str]:
    host = get_param(attempt, "hostaddr") or get_param(attempt, "host") or ""
    return host, get_param(attempt, "port") or ""


async def _resolve(attempt: ConnDict) -> list[ConnDict]:
    host = get_param(attempt, "host")
    # A path to a socket begins with a slash, or with a drive's letter on Windows.
    if not host or host.startswith("/") or host[1:2] == ":" or get_param(attempt, "hostaddr"):
        return [attempt]
    if is_ip_address(host):
        return [{**attempt, "hostaddr": host}]
    port = get_param(attempt, "port") or "5432"
    addresses = await _getaddrinfo(host, port)
    return [{**attempt, "hostaddr": address[0]} for *_, address in addresses]


async def _getaddrinfo(host: str, port: str) -> list[tuple[Any, ...]]:
    """Look up a name in a thread that only names are looked up in.

    Trio's own lookup shares the limit of `trio.to_thread.run_sync` with everything else that the
    program does in threads, and would wait for that.
    """
    lookup = partial(
        socket.getaddrinfo, host, port, proto=socket.IPPROTO_TCP, type=socket.SOCK_STREAM
    )
    # There is no other way to ask whether a test has set one.
    resolver = trio.socket.set_custom_hostname_resolver(None)
    trio.socket.set_custom_hostname_resolver(resolver)
    if resolver is not None:
        return await trio.socket.getaddrinfo(*lookup.args, **lookup.keywords)
    limiter = _limiter.get()
    if limiter is None:
        limiter = trio.CapacityLimiter(_RESOLVED_AT_ONCE)
        _limiter.set(limiter)
    # rule: names are not looked up in threads of users
    return await trio.to_thread.run_sync(lookup, abandon_on_cancel=True, limiter=limiter)


def none_accepts(failures: list[tuple[ConnDict, psycopg.Error]]) -> psycopg.Error:
    """One error for all attempts: of the last one's type, naming each attempt and its reason."""
    _, latest = failures[-1]
    if len(failures) == 1:
        return latest.with_traceback(None)
    lines = [str(latest), "Multiple connection attempts failed. All failures were:"]
    for attempt, error in failures:
        place = ", ".join(f"{key}: {attempt.get(key)!r}" for key in ("host", "port", "hostaddr"))
        lines.append(f"- {place}: {error}")
    return type(latest)("\n".join(lines), pgconn=latest.pgconn)
