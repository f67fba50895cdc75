"""What a job does in the database happens once: `python examples/effects.py DSN`.

The first attempt of each job fails when it has done most of its work.
"""

from __future__ import annotations

import sys
from typing import Any

import trio

import m25
from m25 import pg

ONCE_MORE = m25.Retry(max_attempts=2, delay=0)


def fail_at_first() -> None:
    if m25.current_job().attempt == 1:
        raise OSError("the network is down")


# All in one transaction, which is that of the job's success as well.
@m25.queue("invoices", transactional=True, retry=ONCE_MORE)
async def invoices(customer: str, *, connection: pg.AsyncConnection[Any]) -> None:
    await connection.execute("insert into invoice values (%s)", [customer])
    fail_at_first()


async def look_up_price(tickets: int) -> int:
    print("looked up a price")
    return 12 * tickets


async def pay(connection: pg.AsyncConnection[Any], euros: int) -> str:
    await connection.execute("insert into payment values (%s)", [euros])
    print("paid", euros)
    return f"receipt for {euros}"


# Step by step: what is done is not done again.
@m25.queue("tickets", retry=ONCE_MORE)
async def tickets(count: int) -> str:
    job = m25.current_job()
    price = await job.step("price", look_up_price, count)
    receipt = await job.transact("pay", pay, price)
    fail_at_first()
    return receipt


async def main(dsn: str) -> None:
    async with m25.open(dsn) as m, await pg.AsyncConnection.connect(dsn) as connection:
        await connection.execute("create table invoice (customer text)")
        await connection.execute("create table payment (euros int)")
        await connection.commit()
        for queue in (invoices, tickets):
            m.add_queue(queue)
        await m.start()
        await m.call(invoices, "ada")
        print(await m.call(tickets, 3))
        cursor = await connection.execute("select count(*) from invoice")
        print("invoices:", *await cursor.fetchall())
        cursor = await connection.execute("select count(*) from payment")
        print("payments:", *await cursor.fetchall())


if __name__ == "__main__":
    trio.run(main, sys.argv[1])
