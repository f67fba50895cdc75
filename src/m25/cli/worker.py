"""`m25 worker`: runs the queues of modules, in one process or in several."""

from __future__ import annotations

import argparse
import logging
import math
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import attrs
import trio

from .._client import open as open_client
from .._groups import unwrapped
from .._signals import until_signal
from . import _address
from . import _supervised as supervised
from . import _systemd as systemd
from ._console import Console
from ._exits import DONE, FAILED, WrongUsage, need
from ._modules import SYNTAX, Work, load, load_opening
from ._until_stopped import run_until_stopped

_logger: Final = logging.getLogger("m25.worker")

#: In seconds, as `m25.open` has it.
_GRACE: Final = 10.0
#: How long the queues have to start, their lifespans included, in seconds: a model may be loaded, a
#: server be replaced meanwhile.
_TO_START: Final = 60.0
_MOST_PROCESSES: Final = 1_000
#: Of handlers at once, as a queue has it.
_MOST_CONCURRENCY: Final = 100_000

_DESCRIPTION: Final = f"""\
Run the queues that modules declare, until Ctrl-C or SIGTERM: then no more jobs are claimed, and
running handlers have --grace seconds to finish. A function that is named, as {SYNTAX} has it, is
given the client before the queues start: def prepare(m): m.add_schedule(...)

With --processes, as many run under a supervisor, which starts one again that has ended. If the
supervisor is killed, they stop as they do at SIGTERM. With --reload it also stops them, and starts
them anew, when the program has changed."""

_EPILOG: Final = f"""\
{_address.HELP}

--health answers GET /readyz with 200 while the queues run, and GET /livez with 200 unless a process
stands still: by itself one whose loop is blocked answers nothing, and a supervisor says so after
10 s. It is for one's own network: there is no password.

Under systemd (Type=notify) it says when it is ready and when it stops; with WatchdogSec= it says
that it is alive.

exit codes:
  0  stopped as it was asked to
  1  it could not start, or has failed
  2  the command line, a module or the address is wrong

examples:
  m25 worker shop.jobs
  m25 worker shop.jobs:prepare reports.jobs --queue emails --queue reports
  m25 worker shop.jobs --processes 4 --health :8080 --grace 30
  m25 worker shop.jobs --reload --grace 1
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.description = _DESCRIPTION
    parser.epilog = _EPILOG
    parser.add_argument("modules", nargs="+", metavar=SYNTAX, help="where the queues are")
    parser.add_argument(
        "--queue",
        action="append",
        default=[],
        metavar="NAME",
        help="run this queue alone; may be repeated (default: all that are found)",
    )
    parser.add_argument(
        "--processes",
        type=_count_to(_MOST_PROCESSES),
        default=1,
        metavar="N",
        help="how many (default: 1)",
    )
    parser.add_argument(
        "--max-concurrency",
        type=_count_to(_MOST_CONCURRENCY),
        metavar="N",
        help="how many handlers run at once in each process, over all queues (default: as many as"
        " these have)",
    )
    parser.add_argument(
        "--reload",
        action="store_true",
        help="for development: begin anew when a Python file below this directory changes",
    )
    parser.add_argument(
        "--health", type=_host_and_port, metavar="[HOST]:PORT", help="answer /livez and /readyz"
    )
    parser.add_argument(
        "--open",
        metavar="MODULE:FUNCTION",
        help="a function that returns arguments of m25.open by name: tracer, listeners, around",
    )
    parser.add_argument(
        "--grace",
        type=seconds,
        default=_GRACE,
        metavar="SECONDS",
        help=f"how long running handlers have to finish at a stop (default: {_GRACE:g})",
    )
    _address.add_option(parser)
    _address.add_schema_option(parser)
    # The pipe on which a supervisor listens to one of its processes, whose stdin ends with it.
    parser.add_argument("--supervised", type=int, help=argparse.SUPPRESS)


def run(options: argparse.Namespace, console: Console) -> int:
    """Run the queues, and return the exit code."""
    is_supervisor = options.processes > 1 or options.reload
    conninfo = _address.read(options.addr)
    # The supervisor, too, looks at them: what is wrong with them is said once, and at once.
    work = load(options.modules, options.queue)
    opening = load_opening(options.open)
    # A supervisor opens no client: what the function starts is each worker's own.
    opened: Mapping[str, Any] = {} if is_supervisor else opening()
    if not logging.root.handlers:
        logging.basicConfig(
            level=logging.INFO, format="%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s"
        )
    if options.health is not None:
        need("--health", "cli", "h11")
    if options.reload:
        need("--reload", "reload", "watchfiles")
    if is_supervisor:
        if os.name != "posix":
            raise WrongUsage(
                "--processes and --reload need a POSIX system; start several workers instead"
            )
        from ._supervise import supervise

        supervisor = partial(
            supervise,
            _arguments_of_one(options),
            conninfo,
            count=options.processes,
            health_address=options.health,
            grace=options.grace,
            watched=Path.cwd() if options.reload else None,
        )
        with unwrapped():
            return DONE if trio.run(supervisor) else FAILED
    program = partial(_work, work, conninfo, options, opened)
    return run_until_stopped(program, console, _address.describe(conninfo))


def _arguments_of_one(options: argparse.Namespace) -> list[str]:
    """The arguments of each process under a supervisor, but for its pipe; the address comes by the
    environment, where other users of the machine do not see it.
    """
    arguments = ["worker", *options.modules, "--schema", options.schema]
    for name in options.queue:
        arguments += ["--queue", name]
    if options.open is not None:
        arguments += ["--open", options.open]
    if options.max_concurrency is not None:
        arguments += ["--max-concurrency", str(options.max_concurrency)]
    return [*arguments, "--grace", str(options.grace)]


@attrs.define
class _State:
    """Why a worker does not run its queues, in words; `None` while it does."""

    not_ready: str | None = "its queues are starting"


async def _work(
    work: Work, conninfo: str, options: argparse.Namespace, opened: Mapping[str, Any]
) -> None:
    """Run the queues until a signal comes, or the supervisor has ended."""
    state, asked = _State(), trio.Event()
    async with trio.open_nursery() as nursery:
        if options.health is not None:
            from ._health import Health, serve

            # Where the loop stands still, nobody answers.
            health = Health(live=lambda: None, ready=lambda: state.not_ready)
            await nursery.start(serve, health, *options.health)
        if options.supervised is not None:
            nursery.start_soon(
                supervised.report, lambda: state.not_ready is None, options.supervised
            )
        else:
            nursery.start_soon(systemd.feed_watchdog)
        async with open_client(
            conninfo,
            schema=options.schema,
            shutdown_grace=options.grace,
            max_concurrency=options.max_concurrency,
            **opened,
        ) as m:
            work.add_to(m)
            nursery.start_soon(_wait_until_asked, asked, options.supervised is not None)
            async with trio.open_nursery() as running:

                async def stop_when_asked() -> None:
                    await asked.wait()
                    state.not_ready = "it is stopping"
                    _logger.info("stopping: running handlers have %g s to finish", options.grace)
                    systemd.notify("STOPPING=1")
                    await m.stop()
                    running.cancel_scope.cancel()

                # It may be asked before its queues have started.
                running.start_soon(stop_when_asked)
                await m.start(_TO_START)
                if not asked.is_set():
                    state.not_ready = None
                    names = ", ".join(queue.name for queue in work.queues)
                    _logger.info("running %s", names or "what its modules have prepared")
                    systemd.notify("READY=1")
        nursery.cancel_scope.cancel()


async def _wait_until_asked(asked: trio.Event, is_supervised: bool) -> None:
    async with trio.open_nursery() as nursery:
        if is_supervised:
            nursery.start_soon(supervised.wait_until_alone, asked)
        # Also once the supervisor has asked: a terminal, and systemd, tell all processes at once,
        # and what comes second must not end the handlers.
        await until_signal()
        asked.set()
        nursery.cancel_scope.cancel()


def _count_to(most: int) -> Callable[[str], int]:
    def count(text: str) -> int:
        if not (text.isdecimal() and 1 <= int(text) <= most):
            raise argparse.ArgumentTypeError(f"must be from 1 to {most}, not {text!r}")
        return int(text)

    return count


def seconds(text: str) -> float:
    """Read a number of seconds.

    Raises:
        argparse.ArgumentTypeError: it is none, or is infinite or less than zero.
    """
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number of seconds, not {text!r}")
    return number


def _host_and_port(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not (colon and port.isdecimal() and int(port) < 1 << 16):
        raise argparse.ArgumentTypeError(f"must be HOST:PORT or :PORT, not {text!r}")
    return host.strip("[]") or "0.0.0.0", int(port)  # noqa: S104 - who asks is another machine
