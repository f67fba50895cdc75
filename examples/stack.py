"""Ask where the handler of a running job waits: `python examples/stack.py ADDRESS`.

Whoever asks may be another program, on another machine: `m25 stack ID` is one.
"""

from __future__ import annotations

import sys

import trio

import m25

started = trio.Event()


async def send(_part: str, *, task_status: trio.TaskStatus[None]) -> None:
    task_status.started()
    await trio.sleep_forever()  # the other side has fallen silent


@m25.queue("uploads")
async def upload(name: str) -> None:
    async with trio.open_nursery() as nursery:
        for number in range(3):
            await nursery.start(send, f"{name}, part {number}")
        started.set()


async def main(address: str) -> None:
    async with m25.open(address) as m:
        m.add_queue(upload)
        await m.start()
        job = await m.enqueue(upload, "holidays.mp4")
        await started.wait()
        stack = await m.stack(upload, job.id)
        print(stack.task.function, "has", len(stack.task.tasks), "tasks:")
        for task in stack.task.tasks:
            print(" ", task.function, "waits in", task.frames[-1].function)
        await m.cancel_job(upload, job.id, running=True, wait=True)


if __name__ == "__main__":
    trio.run(main, sys.argv[1])
