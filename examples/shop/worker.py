"""Runs the shop's jobs: `python worker.py`, any number of times."""

import jobs
import trio

import m25


async def main() -> None:
    async with m25.open(shutdown_grace=20) as m, trio.open_nursery() as nursery:
        for queue in jobs.QUEUES:
            m.add_queue(queue)
        await nursery.start(m.run, 60)  # seconds, for a busy machine
        print("works", flush=True)
        await m25.until_signal()
        await m.stop()


if __name__ == "__main__":
    trio.run(main)
