"""A queue that does what is asked for each account in order. `python examples/order.py DSN`."""

import sys

import attrs
import trio

import m25


@attrs.frozen
class Change:
    account: str
    number: int


tried: set[Change] = set()
ended: dict[str, list[int]] = {}


# One job of an account at a time, also while one of them is tried again; accounts go side by side.
@m25.queue("example changes", ordered_by="account", retry=m25.Retry(max_attempts=2, delay=0.01))
async def changes(change: Change) -> None:
    await trio.sleep(0.005)
    if change.number % 3 == 0 and change not in tried:
        tried.add(change)
        raise OSError("not this time")
    ended.setdefault(change.account, []).append(change.number)


async def main(dsn: str) -> None:
    async with m25.open(dsn) as m:
        m.add_queue(changes)
        await m.start()
        put = await m.enqueue_many(
            changes, [Change(account, number) for number in range(20) for account in ("ada", "bob")]
        )
        for id in put.ids:
            await m.wait(changes, id)
        print("accounts:", sorted(ended))
        print("in order:", all(numbers == list(range(20)) for numbers in ended.values()))


if __name__ == "__main__":
    trio.run(main, sys.argv[1])
