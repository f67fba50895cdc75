"""A job that exists if and only if the caller's own transaction commits."""

import sys

import trio

import m25
from m25 import pg


@m25.queue("invoices")
async def invoices(order: int) -> None:
    print(f"invoice for order {order}")


async def place_order(m: m25.M25, connection: pg.AsyncConnection, order: int) -> None:
    async with connection.transaction():
        await connection.execute("insert into orders (id) values (%s)", [order])
        await m.enqueue(invoices, order, connection=connection)
        if order == 13:
            raise ValueError("no such order")


async def main(dsn: str) -> None:
    async with m25.open(dsn) as m, await pg.AsyncConnection.connect(dsn) as connection:
        await connection.execute("create table if not exists orders (id int primary key)")
        await connection.commit()
        await place_order(m, connection, 12)
        try:
            await place_order(m, connection, 13)
        except ValueError as error:
            print(f"rolled back: {error}")
        cursor = await connection.execute("select input from m25.job")
        print(f"jobs: {await cursor.fetchall()}")


if __name__ == "__main__":
    trio.run(main, sys.argv[1])
