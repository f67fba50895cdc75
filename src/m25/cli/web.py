"""`m25 web`: a dashboard in the browser."""

from __future__ import annotations

import argparse
import os
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from .._client import open as open_client
from .._errors import UsageError
from .._groups import only_leaf
from .._signals import until_signal
from . import _address
from ._console import Console
from ._exits import CannotStart, WrongUsage, need
from ._until_stopped import run_until_stopped

if TYPE_CHECKING:
    from hypercorn import Config

#: Where the token is, if it is not given.
TOKEN: Final = "M25_WEB_TOKEN"  # noqa: S105 - a name
#: Addresses that no other machine reaches.
_THIS_MACHINE: Final = ("127.0.0.1", "localhost", "[::1]")

_DESCRIPTION: Final = f"""\
Show queues, jobs, workers and schedules in the browser, as they are now. Without a token all is
read-only. With one (--token, or {TOKEN}) whoever signs in with it can retry and cancel
jobs, and pause and resume queues and schedules."""

_EPILOG: Final = f"""\
{_address.HELP}

Whoever reaches the address sees inputs, outputs and errors of all jobs, unless --private is given:
then one has to sign in first. There is no TLS: for other machines, let a proxy in front of it have
that.

Where it listens on this machine alone, it answers to localhost and 127.0.0.1, and to names that are
given by --host; elsewhere to all names, unless some are given.

exit codes:
  0  it was ended by Ctrl-C or SIGTERM
  1  the address cannot be had, the database cannot be reached, or its schema does not fit
  2  the command line is wrong; the database was not asked

examples:
  m25 web
  {TOKEN}=... m25 web --bind 0.0.0.0:8025 --private
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.description = _DESCRIPTION
    parser.epilog = _EPILOG
    parser.add_argument(
        "--bind",
        metavar="HOST:PORT",
        default="127.0.0.1:8025",
        help="where to listen (default: 127.0.0.1:8025)",
    )
    parser.add_argument(
        "--token",
        help=f"what one signs in with; better kept in {TOKEN}, where other users cannot see it",
    )
    parser.add_argument(
        "--private", action="store_true", help="show nothing to those who have not signed in"
    )
    parser.add_argument(
        "--host",
        action="append",
        metavar="NAME",
        help="a name by which browsers reach it, as through a proxy; may be repeated (see below)",
    )
    _address.add_option(parser)
    _address.add_schema_option(parser)


def run(options: argparse.Namespace, console: Console) -> int:
    """Serve until Ctrl-C or SIGTERM, and return the exit code."""
    need("web", "web", "hypercorn", "itsdangerous", "jinja2", "starlette")
    conninfo = _address.read(options.addr)
    target = _address.describe(conninfo)
    return run_until_stopped(partial(_serve, conninfo, options, console, target), console, target)


async def _serve(conninfo: str, options: argparse.Namespace, console: Console, target: str) -> None:
    import hypercorn.trio

    from .. import web

    token = options.token or os.environ.get(TOKEN) or None
    async with open_client(conninfo, schema=options.schema, pool_size=4) as m:
        try:
            dashboard = web.app(
                m, token=token, private=options.private, hosts=_hosts(options), target=target
            )
        except UsageError as error:
            raise WrongUsage(str(error)) from error

        async def until_stop() -> None:
            await until_signal()
            # Else the server would wait for pages that are open.
            dashboard.stop()

        serve = partial(
            hypercorn.trio.serve,  # pyright: ignore[reportUnknownMemberType]
            dashboard,  # type: ignore[arg-type]
            _config(options.bind),
            shutdown_trigger=until_stop,
        )
        async with trio.open_nursery() as nursery:
            try:
                urls = await nursery.start(serve)
            except* OSError as errors:
                # One, out of the server's own nursery.
                reason = only_leaf(errors)
                raise CannotStart(f"--bind {options.bind} cannot be had: {reason}") from reason
            for url in urls:
                console.say(f"the dashboard is at {url}; Ctrl-C ends it")


def _hosts(options: argparse.Namespace) -> list[str] | None:
    """The names that it answers to; `None` is all."""
    host = options.bind.rpartition(":")[0]
    if host in _THIS_MACHINE:
        return [*_THIS_MACHINE, *(options.host or ())]
    return None if options.host is None else [host, *options.host]


def _config(bind: str) -> Config:
    from hypercorn import Config

    config = Config()
    config.bind = [bind]
    config.include_server_header = False
    # Where it runs is said on our console.
    config.loglevel = "WARNING"
    return config
