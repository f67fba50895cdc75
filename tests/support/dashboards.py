"""A shop with jobs of every kind, for whoever looks at the dashboard."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import trio

import m25
from support.waiting import PATIENCE, eventually


@attrs.frozen
class Order:
    number: int
    customer: str
    items: list[str]


@attrs.frozen
class NoSuchMailbox(Exception):
    address: str


@attrs.frozen
class Photo:
    file: str
    width: int


@m25.queue("mails", errors=(NoSuchMailbox,), retry=m25.Retry(max_attempts=3, delay=0.05))
async def mails(address: str) -> str:
    if address.startswith("eve"):
        raise NoSuchMailbox(address)
    await trio.sleep(0.01)
    return f"sent to {address}"


@m25.queue("photos")
async def photos(photo: Photo) -> int:
    if photo.file == "broken.raw":
        raise ValueError(f"{photo.file}: not an image, or cut off")
    await trio.sleep(0.03)
    return photo.width * 3


@m25.queue("albums")
async def albums(files: list[str]) -> int:
    async with m25.current_job().open_nursery() as nursery:
        children = [await nursery.start_job(photos, Photo(file, 800)) for file in files]
    return sum(child.output for child in children)


@m25.queue("invoices", retry=m25.Retry(max_attempts=2, delay=0.05))
async def invoices(order: Order) -> dict[str, int]:
    if order.number % 17 == 3:
        raise RuntimeError(f"no price for {order.items[0]!r}")
    await trio.sleep(0.02)
    return {"total": len(order.items) * 1990}


# What it reports is written with its heartbeat.
@m25.queue("catalogues", cancel_grace=1, heartbeat_interval=0.2, allowed_heartbeat_misses=300)
async def catalogues(pages: int) -> int:
    job = m25.current_job()
    await job.report(done=37, total=pages, note="page 37: garden chairs")
    await trio.sleep_forever()
    return pages


@attrs.frozen
class Export:
    customer: str
    year: int


GPU = m25.Limit(4, name="gpu")


@m25.queue("exports", limit=m25.Limit(2, key="customer"), rate=m25.Rate(600, per=60))
async def exports(export: Export) -> None:
    await trio.sleep_forever()


@m25.queue("renders", limit=GPU)
async def renders(scene: str) -> None:
    await trio.sleep_forever()


@m25.queue("previews", limit=GPU)
async def previews(scene: str) -> None:
    await trio.sleep_forever()


QUEUES = (mails, photos, albums, invoices, catalogues, exports, renders, previews)


async def how_many_run(m: m25.M25, *queues: m25.Queue[Any, Any, Any]) -> int:
    return sum([(await m.counts(queue=queue, status="executing")).total for queue in queues])


@asynccontextmanager
async def shop(m: m25.M25) -> AsyncGenerator[dict[str, str]]:
    """A block in which the shop has run for a little while; ids of some of its jobs, by what they
    are.
    """
    for queue in QUEUES:
        m.add_queue(queue)
    m.add_schedule("nightly", mails, "30 2 * * *", timezone="Europe/Berlin", input="report@shop")
    m.add_schedule("sweep", photos, every=timedelta(hours=6), input=Photo("sky.jpg", 400))
    async with trio.open_nursery() as nursery:
        await nursery.start(m.run)
        album = await m.enqueue(albums, ["sea.jpg", "sky.jpg", "hills.jpg"])
        await m.wait(albums, album.id)
        broken = await m.enqueue(albums, ["sun.jpg", "broken.raw"])
        await m.wait(albums, broken.id)
        orders = [
            Order(number, f"customer-{number % 7}", ["chair", "table"]) for number in range(40)
        ]
        await m.enqueue_many(invoices, orders)
        failed = await m.enqueue(mails, "eve@example.org")
        for number in range(12):
            await m.enqueue(mails, f"ada-{number}@example.org")
        await m.wait(mails, failed.id)
        later = await m.enqueue(
            mails, m25.Job("bob@example.org", scheduled_at=datetime.now(UTC) + timedelta(hours=3))
        )
        await m.enqueue_many(
            exports, [Export("Noether & Söhne", year) for year in range(2020, 2026)]
        )
        await m.enqueue_many(renders, ["a hill", "a house", "a tree", "a lake", "a road"])
        await m.enqueue_many(previews, ["a cloud", "a field"])
        running = await m.enqueue(catalogues, 120)
        with trio.fail_after(PATIENCE):
            async for _ in m.progress(catalogues, running.id):
                break

        async def limits_are_reached() -> bool:
            export = await how_many_run(m, exports)
            return export == 2 and await how_many_run(m, renders, previews) == GPU.size

        await eventually(limits_are_reached)
        yield {
            "album": str(album.id),
            "broken": str(broken.id),
            "failed": str(failed.id),
            "later": str(later.id),
            "running": str(running.id),
        }
        nursery.cancel_scope.cancel()
