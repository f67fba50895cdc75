"""A job that runs is cancelled, says why, and cleans up: `python examples/cancel.py DSN`."""

from __future__ import annotations

import sys

import trio

import m25

#: Set once the handler runs.
running = trio.Event()


@m25.queue("exports", cancel_grace=60)
async def exports(month: str) -> int:
    print("exporting", month)
    running.set()
    try:
        await trio.sleep_forever()
    finally:
        # A clean-up may wait, for as long as it says, and no longer than `cancel_grace`.
        with trio.move_on_after(50, shield=True):
            await trio.sleep(0.1)
            print("removed what was exported")
    return 0


async def main(dsn: str) -> None:
    async with m25.open(dsn) as m:
        m.add_queue(exports)
        await m.start()
        job = await m.enqueue(exports, "May")
        await running.wait()
        try:
            await m.cancel_job(exports, job.id)
        except m25.InvalidState as error:
            print("not so:", error.status.value)
        job = await m.cancel_job(
            exports, job.id, running=True, by="ada", reason="wrong month", wait=True
        )
        print(job.status.value, "by", job.cancelled_by, "since", job.cancel_reason)


if __name__ == "__main__":
    trio.run(main, sys.argv[1])
