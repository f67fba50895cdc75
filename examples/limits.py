"""Limits, rates and pauses, over all processes. `python examples/limits.py DSN`."""

import sys

import attrs
import trio

import m25


@attrs.frozen
class Report:
    customer: str
    month: int


@attrs.frozen
class Print:
    customer: str
    pages: int


running: list[str] = []

# Of what there are two, whoever uses them: jobs, or anything else.
scanners = m25.Limit(2, name="example scanners")


# Two of each customer at once, however many processes run this queue.
@m25.queue("example reports", limit=m25.Limit(2, key="customer"))
async def reports(report: Report) -> int:
    running.append(report.customer)
    most = running.count(report.customer)
    await trio.sleep(0.1)
    running.remove(report.customer)
    return most


# Ten begin in a second, and one more for the burst.
@m25.queue("example letters", rate=m25.Rate(10))
async def letters(to: str) -> None:
    pass


# Of each customer ten pages in a second, however long the reports.
@m25.queue("example prints", rate=m25.Rate(10, key="customer", cost="pages"))
async def prints(report: Print) -> None:
    pass


async def main(dsn: str) -> None:
    async with m25.open(dsn) as m:
        m.add_queue(reports)
        m.add_queue(letters)
        m.add_queue(prints)
        await m.start()

        jobs = [Report(customer, month) for customer in ("ada", "bob") for month in range(3)]
        put = await m.enqueue_many(reports, jobs)
        most = [await m.result(reports, id) for id in put.ids]
        print("reports of one customer at once, at most:", max(most))

        put = await m.enqueue_many(letters, ["ada"] * 5)
        records = [await m.wait(letters, id) for id in put.ids]
        times = sorted(record.started_at for record in records if record.started_at)
        print("five letters take", round((times[-1] - times[0]).total_seconds(), 1), "s")

        pages = [Print("ada", 3), Print("ada", 2), Print("bob", 1)]
        put = await m.enqueue_many(prints, pages)
        ends = [await m.wait(prints, id) for id in put.ids]
        times = [record.started_at for record in ends if record.started_at]
        waited = (times[1] - times[0]).total_seconds()
        print("ada's second print waits until both are paid for:", waited >= 0.3)
        print("bob waits for ada:", times[2] > times[1])

        async with trio.open_nursery() as nursery:
            began = trio.current_time()
            for _ in range(5):
                nursery.start_soon(m.limiter(letters).take)
        took = trio.current_time() - began
        print("five turns of the letters' rate take at least 0.2 s:", took >= 0.2)

        # As many scripts, or requests, as the limit says: with the jobs, in all processes.
        holding = most_holding = 0

        async def scan() -> None:
            nonlocal holding, most_holding
            async with m.limiter(scanners):
                holding += 1
                most_holding = max(most_holding, holding)
                await trio.sleep(0.05)
                holding -= 1

        async with trio.open_nursery() as nursery:
            for _ in range(6):
                nursery.start_soon(scan)
        print("scanners in use at once, at most:", most_holding)

        await m.pause(reports, reason="the printer is away")
        waiting = await m.enqueue(reports, Report("ada", 12))
        with trio.move_on_after(0.3):
            await m.wait(reports, waiting.id)
        print("while it is paused:", (await m.current(reports, waiting.id)).status.value)
        await m.resume(reports)
        print("once it is resumed:", (await m.wait(reports, waiting.id)).status.value)


if __name__ == "__main__":
    trio.run(main, sys.argv[1])
