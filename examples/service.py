"""m25 in a Trio service: queues as a child of its own nursery, an orderly end on SIGTERM."""

import sys

import trio

import m25


@m25.queue("thumbnails", default_job_timeout=60, max_concurrency=4)
async def thumbnails(path: str) -> int:
    return len(path)


async def front_end(m: m25.M25) -> None:
    """The rest of the service; here it enqueues jobs."""
    for name in ("sea.jpg", "sky.jpg"):
        record = await m.enqueue(thumbnails, name)
        print(f"enqueued {record.input}")


async def main(dsn: str) -> None:
    async with m25.open(dsn, shutdown_grace=20) as m, trio.open_nursery() as nursery:
        m.add_queue(thumbnails)
        await nursery.start(m.run)
        print("ready")
        nursery.start_soon(front_end, m)
        await m25.until_signal()
        await m.stop()
        print("stopped")


if __name__ == "__main__":
    trio.run(main, sys.argv[1])
