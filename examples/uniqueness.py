"""Jobs of which a queue has one of a key at a time: changes are gathered, and none is lost."""

import sys
from datetime import UTC, datetime, timedelta

import trio

import m25

#: Set once the first handler runs, once more versions have come meanwhile, and once the last of
#: them is indexed.
running = trio.Event()
changed = trio.Event()
done = trio.Event()


@m25.queue("indexes")
async def indexes(version: int) -> None:
    print(f"indexing version {version}")
    running.set()
    await changed.wait()
    if version == 3:
        done.set()


@m25.queue("reports")
async def reports(month: str) -> None:
    print(f"report of {month}")


def index(version: int) -> m25.Job[int]:
    return m25.Job(version, unique=m25.Unique("shop", then="rerun_after"))


def soon() -> datetime:
    return datetime.now(UTC) + timedelta(minutes=1)


async def main(dsn: str) -> None:
    async with m25.open(dsn) as m:
        # One report a month, however often somebody presses the button.
        once = m25.Unique("May", within=timedelta(days=1), then="return")
        first = await m.enqueue(reports, m25.Job("May", unique=once))
        again = await m.enqueue(reports, m25.Job("May", unique=once))
        print(f"asked for twice, {again.unique_outcome}: {again.id == first.id}")
        # One that is put off as long as somebody types.
        typed = m25.Job("June", unique=m25.Unique("June", then="debounce"), scheduled_at=soon())
        report = await m.enqueue(reports, typed)
        report = await m.enqueue(reports, typed.schedule(soon()))
        print(f"June is {report.unique_outcome}")
        try:
            await m.enqueue(reports, m25.Job("June", unique=m25.Unique("June")))
        except m25.UniqueKeyConflict as conflict:
            print(f"refused since {conflict.job_id == report.id}")

        m.add_queue(indexes)
        await m.start()
        await m.enqueue(indexes, index(1))
        await running.wait()
        for version in (2, 3):
            record = await m.enqueue(indexes, index(version))
            print(f"version {version}: {record.unique_outcome}")
        changed.set()
        await done.wait()


if __name__ == "__main__":
    trio.run(main, sys.argv[1])
