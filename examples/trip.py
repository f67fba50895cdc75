"""Books trips, by a person's leave. `python examples/trip.py DSN`: kill it, and start it again."""

import sys
from datetime import timedelta

import attrs
import trio

import m25


@attrs.frozen
class Trip:
    to: str
    nights: int


@attrs.frozen
class Approval:
    by: str


class NoRoom(Exception):
    pass


async def book_flight(to: str) -> str:
    await trio.sleep(0.1)
    print("booked: flight to", to)  # In earnest: with job_id as the idempotency key.
    return f"M25-{to[:3].upper()}"


async def book_hotel(to: str, nights: int) -> str:
    await trio.sleep(0.1)
    if nights > 7:
        raise NoRoom(to)
    print("booked: hotel in", to)
    return f"Hotel {to}"


async def tell(text: str) -> None:
    print(text)


# Heartbeats and polls are quick so that a trip goes on soon after its process was killed.
@m25.queue(
    "trips", errors=(NoRoom,), heartbeat_interval=0.25, poll_interval=0.25, allowed_losses=100
)
async def trips(trip: Trip) -> str:
    job = m25.current_job()
    flight = await job.step("flight", book_flight, trip.to)
    try:
        hotel = await job.step("hotel", book_hotel, trip.to, trip.nights)
    except NoRoom:
        await job.step("compensate", tell, f"cancelled: flight {flight}")
        raise
    approval = await job.receive("approval", Approval, timeout=timedelta(days=3))
    await job.step("confirm", tell, f"confirmed: {flight} and {hotel}")
    return f"{flight} and {hotel}, as {approval.by} agrees"


async def main(dsn: str) -> None:
    oslo = m25.JobId.parse("00000000-0000-4000-8000-000000000001")
    rome = m25.JobId.parse("00000000-0000-4000-8000-000000000002")
    async with m25.open(dsn) as m:
        m.add_queue(trips)
        await m.start()
        await m.enqueue(trips, m25.Job(Trip("Oslo", nights=3), id=oslo))
        await m.enqueue(trips, m25.Job(Trip("Rome", nights=10), id=rome))
        try:
            await m.result(trips, rome)
        except NoRoom as error:
            print("no room in", error)
        await m.send(trips, oslo, "approval", Approval("ada"), key="her letter of May")
        print("done:", await m.result(trips, oslo))


if __name__ == "__main__":
    trio.run(main, sys.argv[1])
