"""Outgrow one server: each tenant lives on one of three, and one of the three is killed.

    python examples/growing.py [MAILS]

There is a client for each server, and the program says which tenant lives where. What happens to
one server is no matter to the others. Whoever enqueues for a tenant whose server is gone waits for
it, and enqueues again by the same id: so each job is there once.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from uuid import UUID, uuid5

import attrs
import trio

import m25
from m25 import embedded, migrations, pg
from m25.errors import ClientClosed

#: Which server each tenant lives on. In a real program this is a table: then a tenant can move.
HOMES: Final = {"ada": 0, "bob": 1, "eve": 2}
#: How many mails each tenant sends. The server of one is killed when all have sent two fifths.
MAILS: Final = int(sys.argv[1]) if sys.argv[1:] else 100
BEFORE_THE_KILL: Final = MAILS * 2 // 5
FIRST_MAILS: Final = range(1, BEFORE_THE_KILL + 1)
LAST_MAILS: Final = range(BEFORE_THE_KILL + 1, MAILS + 1)
#: The time between two mails of a tenant, in seconds.
PACE: Final = 0.02
#: Ids are made from what a job is about: to enqueue the same once more is to find it.
NAMESPACE: Final = UUID("8a4f2a60-3c1b-4f7e-9d55-0b1f5a1c2d3e")


@attrs.frozen
class Mail:
    tenant: str
    number: int


@attrs.define
class Sent:
    """What has been sent for a tenant, and when, by Trio's clock."""

    at: list[float] = attrs.Factory(list[float])
    news: trio.Condition = attrs.Factory(trio.Condition)

    async def reaches(self, number: int) -> None:
        async with self.news:
            while len(self.at) < number:
                await self.news.wait()


sent: Final = {tenant: Sent() for tenant in HOMES}


@m25.queue("mails", heartbeat_interval=0.5, poll_interval=0.5)
async def mails(mail: Mail) -> None:
    mine = sent[mail.tenant]
    async with mine.news:
        mine.at.append(trio.current_time())
        mine.news.notify_all()


class Server:
    """One server of the three, with its client, which is there while the server is."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._client: m25.M25 | None = None
        self._opened = trio.Event()
        self._until_gone = trio.CancelScope()

    async def run(self) -> None:
        """Run the server and a worker; and anew, from the same files, once they have gone."""
        while True:
            # Without it too, what is written outlives processes, though not machines.
            settings = {"fsync": "off"}
            async with embedded.postgres(self._directory, settings=settings) as address:
                await migrate(address)
                with trio.CancelScope() as self._until_gone:
                    await self._work(address)

    async def _work(self, address: str) -> None:
        async with m25.open(address) as m:
            m.add_queue(mails)
            await m.start()
            self._client = m
            self._opened.set()
            self._opened = trio.Event()
            try:
                await trio.sleep_forever()
            finally:
                self._client = None

    async def client(self, but: m25.M25 | None = None) -> m25.M25:
        """The client, as soon as there is one: another than `but`, whose server is gone."""
        while self._client is None or self._client is but:
            await self._opened.wait()
        return self._client

    def kill(self) -> None:
        """End the server as a machine ends that loses its power."""
        pid, *_ = (self._directory / "data" / "postmaster.pid").read_text().split()
        os.kill(int(pid), signal.SIGKILL)

    def start_again(self) -> None:
        """Give up the dead server's client, and start another server from its files."""
        self._until_gone.cancel()


async def migrate(address: str) -> None:
    async with await pg.AsyncConnection.connect(address, autocommit=True) as connection:
        await migrations.apply(connection, "m25")


async def send_mails(server: Server, tenant: str, numbers: range) -> None:
    await server.client()
    began = trio.current_time()
    for turn, number in enumerate(numbers, start=1):
        await enqueue(server, Mail(tenant, number))
        await trio.sleep_until(began + turn * PACE)


def id_of(mail: Mail) -> UUID:
    return uuid5(NAMESPACE, f"{mail.tenant} {mail.number}")


async def enqueue(server: Server, mail: Mail) -> None:
    """Enqueue on a server that may go, and come back."""
    job = m25.Job(mail, id=id_of(mail))
    m = await server.client()
    while True:
        try:
            await m.enqueue(mails, job)
        except (m25.DatabaseError, ClientClosed):
            # It may have been written all the same: by its id it is found, and not written twice.
            m = await server.client(but=m)
        else:
            return


def pace_of(tenant: str, first: int, last: int) -> float:
    """How many mails a second were sent, from one to another."""
    at = sent[tenant].at
    return (last - first) / (at[last - 1] - at[first - 1])


async def tell(servers: Sequence[Server]) -> None:
    """Wait for the results of all jobs, and say how many there are."""
    for tenant in HOMES:
        m = await servers[HOMES[tenant]].client()
        for number in range(1, MAILS + 1):
            await m.result(mails, id_of(Mail(tenant, number)))
        counts = await m.counts(queue="mails")
        print(
            f"{tenant}: {counts.total} jobs, {counts.by_status[m25.JobStatus.SUCCEEDED]} succeeded"
        )


@contextmanager
def temporary_directory() -> Generator[Path]:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        # A server that root starts runs as another user, who must be able to enter.
        path.chmod(0o711)
        yield path


async def main() -> None:
    with temporary_directory() as directory:
        servers = [Server(directory / f"server-{number}") for number in range(3)]
        async with trio.open_nursery() as nursery:
            for server in servers:
                nursery.start_soon(server.run)
            async with trio.open_nursery() as senders:
                # No tenant may be done before the kill, however long another one's server takes.
                for tenant, home in HOMES.items():
                    senders.start_soon(send_mails, servers[home], tenant, FIRST_MAILS)
                for tenant in HOMES:
                    await sent[tenant].reaches(BEFORE_THE_KILL)
                for tenant, home in HOMES.items():
                    senders.start_soon(send_mails, servers[home], tenant, LAST_MAILS)
                await sent["bob"].reaches(BEFORE_THE_KILL + 1)
                servers[HOMES["bob"]].kill()
                print("bob's server is killed")
                for tenant in ("ada", "eve"):
                    await sent[tenant].reaches(MAILS)
                    before = pace_of(tenant, 1, BEFORE_THE_KILL)
                    during = pace_of(tenant, BEFORE_THE_KILL + 1, MAILS)
                    print(f"{tenant} has sent {MAILS}, at {during / before:.0%} of the pace before")
                print("bob waits:", len(sent["bob"].at) < MAILS)
                servers[HOMES["bob"]].start_again()
            await tell(servers)
            nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
