"""Jobs that are tried again, put off and given up, and a queue that is told of failures."""

import itertools
import sys

import trio

import m25

#: The calls of the handler: a job that is put off comes again as the same attempt.
calls = itertools.count(1)
#: Set once the failure was told.
told = trio.Event()


@m25.queue("alerts")
async def alerts(failed: m25.FailedJob) -> None:
    print(f"told: {failed.input} has failed after {failed.attempts} attempts, {failed.error}")
    told.set()


@m25.queue(
    "uploads",
    retry=m25.Retry(max_attempts=5, delay=m25.exponential(0.05), on={ValueError: m25.GIVE_UP}),
    on_failure=alerts,
)
async def uploads(name: str) -> None:
    call = next(calls)
    print(f"call {call} for {name} is attempt {m25.current_job().attempt}")
    match call:
        case 1:
            raise ConnectionError
        case 2:
            raise m25.RetryAfter(0.1)
        case 3:
            raise m25.Snooze(0.1)
        case _:
            raise ValueError("no such file")


async def main(dsn: str) -> None:
    async with m25.open(dsn) as m:
        m.add_queue(uploads)
        m.add_queue(alerts)
        await m.start()
        await m.enqueue(uploads, "sea.jpg")
        await told.wait()


if __name__ == "__main__":
    trio.run(main, sys.argv[1])
