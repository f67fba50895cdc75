"""A program whose own queue runs in a process, in C that looks at no signal; until it is killed."""

import os

import trio

import m25
import m25.testing


@m25.queue("endless", runs="process", max_concurrency=1)
def endless(number: int) -> int:
    print(f"at work {os.getpid()}", flush=True)
    return len(str(9 ** (10**8 + number)))


async def main() -> None:
    async with m25.testing.open() as m:
        m.add_queue(endless)
        print("ready", flush=True)
        await m.start(60)
        await m.enqueue(endless, 1)
        await trio.sleep_forever()


if __name__ == "__main__":
    trio.run(main)
