"""The shop in `examples/shop` does what its pages say: real processes, and a moody carrier."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import attrs
import httpx
import hypercorn
import hypercorn.trio
import pytest
import trio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from support.processes import Worker
from support.waiting import eventually

SHOP = Path(__file__).parents[2] / "examples" / "shop"


@attrs.define
class Carrier:
    """Takes parcels, and answers what it is told to before that."""

    #: By order.
    moods: dict[int, deque[Response]] = attrs.field(factory=dict[int, deque[Response]])
    #: The keys that it was given, by order.
    asked: dict[int, list[str]] = attrs.field(factory=dict[int, list[str]])
    url: str = ""

    async def take(self, request: Request) -> Response:
        parcel = await request.json()
        order = int(parcel["order"])
        self.asked.setdefault(order, []).append(request.headers["Idempotency-Key"])
        if moods := self.moods.get(order):
            return moods.popleft()
        if parcel["address"] == "nowhere":
            return JSONResponse({}, 422)
        return JSONResponse({"tracking": f"T{parcel['order']}"}, 201)


@asynccontextmanager
async def carrier() -> AsyncGenerator[Carrier]:
    it = Carrier()
    app = Starlette(routes=[Route("/parcels", it.take, methods=["POST"])])
    config = hypercorn.Config()
    config.bind = ["127.0.0.1:0"]
    async with trio.open_nursery() as nursery:
        serve = partial(hypercorn.trio.serve, app, config, shutdown_trigger=trio.sleep_forever)  # type: ignore[arg-type]
        (it.url,) = await nursery.start(serve)
        yield it
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def program(name: str, *arguments: str, **environment: str) -> AsyncGenerator[Worker]:
    process = await trio.lowlevel.open_process(
        [sys.executable, "-u", str(SHOP / name), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **environment},
    )
    assert process.stdout is not None
    assert process.stderr is not None
    running = Worker(process)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(running.read, process.stdout, running.printed)
        nursery.start_soon(running.read, process.stderr, running.logged)
        try:
            yield running
            process.terminate()
            with trio.fail_after(30):
                assert await process.wait() == 0, running.logged
        finally:
            with trio.CancelScope(shield=True):
                if process.returncode is None:
                    process.kill()
                await process.wait()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@attrs.define
class Shop:
    pages: httpx.AsyncClient
    carrier: Carrier
    worker: Worker

    async def until(self, path: str, text: str) -> None:
        async def look() -> bool:
            return text in (await self.pages.get(path)).text

        await eventually(look, 30)


@asynccontextmanager
async def open_shop(dsn: str) -> AsyncGenerator[Shop]:
    port = free_port()
    async with (
        carrier() as it,
        program("worker.py", DATABASE_URL=dsn, CARRIER=it.url) as worker,
        program("web.py", str(port), DATABASE_URL=dsn),
        httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", follow_redirects=True, timeout=30
        ) as pages,
    ):

        async def answers() -> bool:
            try:
                return (await pages.get("/")).status_code == 200
            except httpx.TransportError:
                return False

        async def works() -> bool:
            assert worker.process.returncode is None, worker.logged
            return "works" in worker.printed

        await eventually(works, 60)
        await eventually(answers, 60)
        yield Shop(pages, it, worker)


async def a_parcel_is_sent_whatever_the_carriers_mood_and_once(shop: Shop) -> None:
    shop.carrier.moods[7] = deque(
        [
            Response(status_code=503),
            Response(status_code=429, headers={"Retry-After": "0.1"}),
            Response(status_code=503),
        ]
    )
    page = await shop.pages.post("/orders", data={"order": "7", "address": "Alexandria"})
    assert "Parcel of order 7" in page.text
    await shop.until(page.url.path, "Tracking number T7")
    assert len(shop.carrier.asked[7]) == 4
    assert len(set(shop.carrier.asked[7])) == 1


async def what_cannot_be_sent_is_given_up_at_once_and_told(shop: Shop) -> None:
    page = await shop.pages.post("/orders", data={"order": "8", "address": "nowhere"})
    await shop.until(page.url.path, "failed, attempt 1 of 6")
    await shop.worker.until_printed("alert: parcels has given up after 1")
    assert len(shop.carrier.asked[8]) == 1


async def a_poster_is_drawn_while_the_visitor_waits_and_one_too_large_is_killed(
    shop: Shop,
) -> None:
    page = await shop.pages.get("/posters", params={"text": "Sea", "rounds": "1000"})
    assert page.status_code == 200
    assert "<pre>" in page.text
    page = await shop.pages.get("/posters", params={"text": "Sea", "rounds": str(10**12)})
    assert page.status_code == 422
    assert "JOB_TIMEOUT" in page.text


async def a_catalogue_says_how_far_it_is_and_can_be_stopped(shop: Shop) -> None:
    page = await shop.pages.post("/catalogues", data={"pages": "100000"})
    seen: list[str] = []
    is_asked = False
    async with shop.pages.stream("GET", f"{page.url.path}/progress") as stream:
        async for line in stream.aiter_lines():
            seen.append(line)
            if '"total": 100000' in line and not is_asked:
                is_asked = True
                await shop.pages.post(f"{page.url.path}/cancel")
    assert "event: end" in seen
    await shop.until(page.url.path, "cancelled: not wanted any more")
    page = await shop.pages.post("/catalogues", data={"pages": "3"})
    await shop.until(page.url.path, "succeeded")


@pytest.mark.slow
async def test_the_shop_does_what_its_pages_say(dsn: str) -> None:
    # Side by side, as visitors come: to open a shop takes longer than a visit.
    async with open_shop(dsn) as shop, trio.open_nursery() as nursery:
        nursery.start_soon(a_parcel_is_sent_whatever_the_carriers_mood_and_once, shop)
        nursery.start_soon(what_cannot_be_sent_is_given_up_at_once_and_told, shop)
        nursery.start_soon(
            a_poster_is_drawn_while_the_visitor_waits_and_one_too_large_is_killed, shop
        )
        nursery.start_soon(a_catalogue_says_how_far_it_is_and_can_be_stopped, shop)
