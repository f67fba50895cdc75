"""Schedules: one each second, and one that is paused and run by hand."""

import sys
from datetime import datetime, timedelta

import trio

import m25

#: Set once the first tick's job has run.
ticked = trio.Event()


@m25.queue("readings")
async def readings(second: int) -> None:
    if not ticked.is_set():
        print("read at a whole second:", second == int(second))
        ticked.set()


@m25.queue("reports")
async def reports(title: str) -> str:
    return f"report of {title}"


def second(tick: datetime) -> int:
    return int(tick.timestamp())


def title(tick: datetime) -> str:
    return f"{tick:%A}s in {tick.tzinfo}"


async def main(dsn: str) -> None:
    async with m25.open(dsn) as m:
        m.add_queue(readings)
        m.add_queue(reports)
        m.add_schedule("each second", readings, every=timedelta(seconds=1), input=second)
        # Mondays at 7:30 in Berlin, summer and winter; a report that takes a week is not joined.
        m.add_schedule(
            "weekly",
            reports,
            "30 7 * * MON",
            timezone="Europe/Berlin",
            input=title,
            overlap="skip",
            jitter=timedelta(minutes=5),
        )
        await m.start()
        await ticked.wait()
        await m.pause_schedule("weekly")
        for schedule in await m.schedules():
            times = schedule.expression or f"every {schedule.every}"
            print(f"{schedule.name}: {times}", "(paused)" if schedule.paused_at else "")
        record = await m.run_schedule("weekly")
        print("by hand:", await m.result(reports, record.id))


if __name__ == "__main__":
    trio.run(main, sys.argv[1])
