"""All faults at once, at random: `python -m faults.torture --minutes N --seed S`.

Workers and a client, each a process behind a proxy of its own; and a tormentor that harms them,
their links and the server, in the order that the seed says. When the time is over the faults end,
what was put is to end too, and the checker looks at all of it.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import attrs
import psycopg
import trio

from m25 import pg
from m25._store.postgres import PostgresStore, prepare_connection
from m25._store.protocol import JobRow
from support.proxy import BOTH, Proxy

from . import journal as journals
from .checker import WITNESS, violations
from .program import ALLOWED_LOSSES, GRACE, MAX_CONCURRENCY
from .report import TAKEN_OVER, Findings, taking_over
from .servers import Server, serving

WORKERS = 4
#: How many of each are injected in ten minutes.
RATES = {
    "kill": 220,
    "pause": 65,
    "storm": 130,
    "crash": 15,
    "restart": 18,
    "cut": 130,
    "stall": 40,
    "slow": 25,
    "unheard": 40,
    "stop": 30,
}
#: In seconds: longer than a worker's lease.
_PAUSE = 3.0
_PATIENCE = 120.0
#: When a process is late by so much, its machine is too busy to tell how long anything takes.
_STANDSTILL = 0.25
#: What any statement ends with, as the wire has it: the request to execute all of it.
_EXECUTE = b"E\x00\x00\x00\x09\x00\x00\x00\x00\x00"


@attrs.define(eq=False)
class Member:
    """A process that is tormented, and started again."""

    name: str
    role: str
    proxy: Proxy
    process: trio.Process | None = None
    incarnation: int = 0
    #: Whether its end is no surprise.
    may_end: bool = False
    #: Whether it is not to be started again.
    has_ended: bool = False


@attrs.define(eq=False)
class Torture:
    """A server and its users, and whoever torments them."""

    server: Server
    findings: Findings
    _members: list[Member] = attrs.field(factory=list)
    _rng: random.Random = attrs.field(init=False)
    _own: journals.Journal = attrs.field(init=False)
    _restarting: trio.Lock = attrs.field(factory=trio.Lock)

    def __attrs_post_init__(self) -> None:
        self._rng = random.Random(self.findings.seed)
        self._own = journals.Journal(self.findings.directory, "tormentor")

    async def run(self, seconds: float) -> None:
        """Torment for so long, let everything end, and look for what went wrong."""
        async with trio.open_nursery() as nursery:
            for number in range(WORKERS + 1):
                await self._add(nursery, number)
            nursery.start_soon(self._watch_keys)
            nursery.start_soon(self._watch_machine)
            # All are at work.
            await self._until(lambda succeeded: succeeded > 100)
            await self._torment(seconds)
            await self._let_end()
            nursery.cancel_scope.cancel()
        await self._check()

    async def _add(self, nursery: trio.Nursery, number: int) -> None:
        role = "client" if number == WORKERS else "worker"
        member = Member(f"{role}-{number}", role, Proxy(self.server.direct))
        await member.proxy.serve(nursery)
        self._members.append(member)
        nursery.start_soon(self._keep_alive, member)

    async def _keep_alive(self, member: Member) -> None:
        """Start a process whenever there is none."""
        while not member.has_ended:
            member.incarnation += 1
            member.may_end = False
            name = f"{member.name}.{member.incarnation}"
            directory, seed = self.findings.directory, str(self.findings.seed)
            arguments = (member.role, member.proxy.dsn, str(directory), name, seed)
            with (directory / f"{name}.err").open("wb") as errors:
                member.process = await trio.lowlevel.open_process(
                    [sys.executable, "-m", "faults.program", *arguments],
                    cwd=Path(__file__).parents[1],
                    stderr=errors,
                    start_new_session=True,
                )
                try:
                    status = await member.process.wait()
                finally:
                    if member.process.returncode is None:
                        member.process.kill()
            if not member.may_end:
                self._own.write("ended unasked", worker=name, status=status)

    async def _torment(self, seconds: float) -> None:
        faults: dict[str, Callable[[], Awaitable[None]]] = {
            "kill": self._kill,
            "pause": self._pause,
            "storm": self._storm,
            "crash": self._crash,
            "restart": self._restart,
            "cut": self._cut,
            "stall": self._stall,
            "slow": self._slow,
            "unheard": self._unheard,
            "stop": self._stop,
        }
        every = 600 / sum(RATES.values())
        with trio.move_on_after(seconds):
            async with trio.open_nursery() as nursery:
                while True:
                    await trio.sleep(self._rng.expovariate(1 / every))
                    (fault,) = self._rng.choices(list(RATES), list(RATES.values()))
                    nursery.start_soon(self._inject, fault, faults[fault])
        # Where the machine stood still for that long, it was no torture yet.
        while self.findings.injected.total() < seconds / 5:
            await self._inject("kill", self._kill)
            await trio.sleep(every)

    async def _inject(self, name: str, fault: Callable[[], Awaitable[None]]) -> None:
        began = time.time()
        try:
            await fault()
        except (psycopg.Error, OSError):
            # Another fault was there first.
            return
        finally:
            self._own.write("fault", name=name, began=began)
        self.findings.injected[name] += 1

    def _worker(self) -> Member:
        return self._rng.choice([each for each in self._members if each.role == "worker"])

    async def _kill(self) -> None:
        member = self._worker()
        assert member.process is not None
        member.may_end = True
        self._own.write("killed", worker=f"{member.name}.{member.incarnation}")
        member.process.kill()

    async def _pause(self) -> None:
        process = self._worker().process
        assert process is not None
        process.send_signal(signal.SIGSTOP)
        try:
            await trio.sleep(_PAUSE)
        finally:
            process.send_signal(signal.SIGCONT)

    async def _stop(self) -> None:
        member = self._worker()
        process = member.process
        assert process is not None
        member.may_end = True
        name = f"{member.name}.{member.incarnation}"
        process.terminate()
        with trio.move_on_after(_PATIENCE) as patience:
            status = await process.wait()
            # Another fault may have killed it; and one that had only begun minds no signal yet.
            if status not in (0, -signal.SIGKILL, -signal.SIGTERM):
                self._own.write("not stopped", worker=name, why=f"it ended with {status}")
        if patience.cancelled_caught:
            self._own.write("not stopped", worker=name, why="it is still there")
            process.kill()

    async def _storm(self) -> None:
        share = self._rng.uniform(0.2, 1)
        before = await self._until(lambda _: True)
        async with await self._connect() as connection:
            await connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where backend_type = 'client backend' and pid <> pg_backend_pid()"
                " and random() < %s",
                [share],
            )
        await self._recovered(before)

    async def _crash(self) -> None:
        """A backend dies by SIGKILL: the server ends all others, and recovers from its log."""
        async with await self._connect() as connection:
            pid = connection.info.backend_pid
            os.kill(pid, signal.SIGKILL)
        await self._recovered(await self._until(lambda _: True))

    async def _restart(self) -> None:
        """The server is stopped at once, in the middle of whatever it does, and started again."""
        async with self._restarting:
            before = await self._until(lambda _: True)
            # What is stopped is started again, also where the time of faults is over meanwhile.
            with trio.CancelScope(shield=True):
                await self.server.stop_at_once()
                await trio.sleep(self._rng.uniform(0, 2))
                await self.server.start()
            for member in self._members:
                member.proxy.aim(self.server.direct)
        await self._recovered(before)

    async def _recovered(self, before: int) -> None:
        began = trio.current_time()
        await self._until(lambda succeeded: succeeded > before)
        self.findings.recoveries.append(trio.current_time() - began)

    async def _until(self, enough: Callable[[int], bool]) -> int:
        """Look, until the server answers and so many have succeeded."""
        while True:
            with suppress(psycopg.Error, OSError):
                succeeded = await self._count("succeeded")
                if enough(succeeded):
                    return succeeded
            await trio.sleep(0.05)

    def _proxy(self) -> Proxy:
        return self._rng.choice(self._members).proxy

    async def _cut(self) -> None:
        await self._proxy().cut()

    async def _stall(self) -> None:
        """A link is half-open for a while, in one direction or both."""
        proxy = self._proxy()
        proxy.hold(*self._rng.choice((BOTH, BOTH[:1], BOTH[1:])))
        try:
            await trio.sleep(self._rng.uniform(0.2, 3))
        finally:
            proxy.release()

    async def _slow(self) -> None:
        """A link takes its time for a while, or carries little."""
        proxy = self._proxy()
        if self._rng.random() < 0.5:
            proxy.delay = self._rng.uniform(0.01, 0.2)
        else:
            proxy.rate = self._rng.uniform(10_000, 100_000)
        try:
            await trio.sleep(self._rng.uniform(0.2, 3))
        finally:
            proxy.delay, proxy.rate = 0, None

    async def _unheard(self) -> None:
        """A statement is executed, and who asked for it never hears of it."""
        with trio.move_on_after(_PAUSE):
            await self._proxy().drop_answer(_EXECUTE).wait()

    async def _watch_keys(self) -> None:
        while True:
            await trio.sleep(1)
            with suppress(psycopg.Error, OSError):
                async with await self._connect() as connection:
                    cursor = await connection.execute(
                        "select unique_key from m25.job where unique_key is not null"
                        " and status not in ('failed', 'cancelled') group by 1 having count(*) > 1"
                    )
                    for (key,) in await cursor.fetchall():
                        self._own.write("shared key", key=key)

    async def _watch_machine(self) -> None:
        """Note when this process stood still: so did others, perhaps."""
        while True:
            began = time.time()
            await trio.sleep(0.05)
            if time.time() - began > _STANDSTILL:
                self._own.write("fault", name="standstill", began=began)

    async def _let_end(self) -> None:
        """Ask for no more, let all that was put come to an end, and stop the workers."""
        (client,) = [each for each in self._members if each.role == "client"]
        client.has_ended = client.may_end = True
        assert client.process is not None
        client.process.terminate()
        with trio.move_on_after(_PATIENCE) as patience:
            while await self._is_left():  # noqa: ASYNC110 - it happens in other processes
                await trio.sleep(0.2)
        if patience.cancelled_caught:
            self.findings.problems.append(
                f"2: {await self._left()} jobs had not ended after {_PATIENCE} s"
            )
        for member in self._members:
            member.has_ended = member.may_end = True
            process = member.process
            assert process is not None
            if member.role == "worker":
                process.terminate()
                with trio.move_on_after(GRACE + 30) as patience:
                    status = await process.wait()
                    if status not in (0, -signal.SIGTERM):
                        self.findings.problems.append(f"9: {member.name} stopped with {status}")
                if patience.cancelled_caught:
                    self.findings.problems.append(f"9: {member.name} does not stop")

    async def _is_left(self) -> bool:
        with suppress(psycopg.Error, OSError):
            return await self._left() > 0
        # From a crash at the very end the server still recovers.
        return True

    async def _left(self) -> int:
        return await self._count("pending", "reserved", "executing")

    async def _count(self, *statuses: str) -> int:
        async with await self._connect() as connection:
            cursor = await connection.execute(
                "select count(*) from m25.job where status = any(%s)", [list(statuses)]
            )
            row = await cursor.fetchone()
            assert row is not None
            count: int = row[0]
            return count

    async def _connect(self) -> pg.AsyncConnection:
        return await pg.AsyncConnection.connect(self.server.direct, autocommit=True)

    async def _check(self) -> None:
        async with await self._connect() as connection:
            cursor = await connection.execute("select * from witness")
            witnessed = await cursor.fetchall()
        findings = self.findings
        findings.rows = await read_rows(self.server.direct)
        findings.journal = journals.read(findings.directory)
        findings.problems += violations(
            findings.rows,
            findings.journal,
            witnessed,
            await read_tokens(self.server.direct),
            max_concurrency=MAX_CONCURRENCY,
            allowed_losses=ALLOWED_LOSSES,
        )
        findings.problems += [
            f"8: jobs of a process that was killed were free after {seconds:.1f} s"
            for seconds, was_calm in taking_over(findings.rows, findings.journal)
            if was_calm and seconds > TAKEN_OVER
        ]


async def read_rows(dsn: str) -> list[JobRow]:
    """Every row, as the store reads it."""
    async with (
        pg.Pool(dsn, kwargs={"autocommit": True}, configure=prepare_connection) as pool,
        pool.connection() as connection,
    ):
        cursor = await connection.execute("select id::text from m25.job order by id")
        ids = [row[0] for row in await cursor.fetchall()]
        store = PostgresStore(pool, "m25")
        found: dict[str, JobRow] = {}
        for start in range(0, len(ids), 1_000):
            found.update(await store.get(ids[start : start + 1_000], connection))
        return [found[id] for id in ids]


async def read_tokens(dsn: str) -> dict[str, str | None]:
    """By row, the token of its latest claim."""
    async with await pg.AsyncConnection.connect(dsn) as connection:
        cursor = await connection.execute("select id::text, claim_token::text from m25.job")
        return dict(await cursor.fetchall())


async def torture(seconds: float, seed: int, directory: Path) -> Findings:
    """A server of its own and its users, tormented for so many seconds."""
    findings = Findings(seed, directory)
    async with serving(fsync="on", max_connections="100") as server:
        async with await pg.AsyncConnection.connect(server.direct, autocommit=True) as connection:
            await connection.execute(WITNESS.encode())
        await Torture(server, findings).run(seconds)
    return findings


def main() -> None:
    parser = argparse.ArgumentParser(prog="faults.torture", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    arguments = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="m25-torture-"))
    print(f"seed {arguments.seed}; journals and logs in {directory}", flush=True)
    findings = trio.run(torture, arguments.minutes * 60, arguments.seed, directory)
    print(findings.text())
    sys.exit(bool(findings.problems))


if __name__ == "__main__":
    main()
