"""The dashboard within an ASGI app: `python dashboard.py DSN [HOST:PORT]`."""

import os
import sys
from functools import partial
from typing import Any

import hypercorn
import hypercorn.trio
import trio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

import m25
import m25.web


async def front(request: Request) -> PlainTextResponse:
    return PlainTextResponse(f"The jobs are at {request.base_url}jobs/\n")


async def main(dsn: str, bind: str) -> None:
    config = hypercorn.Config()
    config.bind = [bind]
    async with m25.open(dsn) as m, trio.open_nursery() as nursery:
        dashboard = m25.web.app(
            m, token=os.environ.get("M25_WEB_TOKEN"), hosts=["127.0.0.1", "localhost"]
        )
        site: Any = Starlette(routes=[Route("/", front), Mount("/jobs", dashboard)])
        stopping = trio.Event()
        serve = partial(
            hypercorn.trio.serve,  # pyright: ignore[reportUnknownMemberType]
            site,
            config,
            shutdown_trigger=stopping.wait,
        )

        async def stop_at_signal() -> None:
            await m25.until_signal()
            # Else the server would wait for pages that are open.
            dashboard.stop()
            stopping.set()

        nursery.start_soon(stop_at_signal)
        await nursery.start(serve)
        print("ready")
    print("stopped")


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "127.0.0.1:0")
