"""The dashboard within an ASGI app: `python dashboard.py DSN [HOST:PORT]`."""

import os
import sys

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
    async with m25.open(dsn) as m:
        dashboard = m25.web.app(
            m, token=os.environ.get("M25_WEB_TOKEN"), hosts=["127.0.0.1", "localhost"]
        )
        site = Starlette(routes=[Route("/", front), Mount("/jobs", dashboard)])

        async def until_stop() -> None:
            print("ready")
            await m25.until_signal()
            # Else the server would wait for pages that are open.
            dashboard.stop()

        await hypercorn.trio.serve(site, config, shutdown_trigger=until_stop)  # type: ignore[arg-type]
    print("stopped")


if __name__ == "__main__":
    trio.run(main, sys.argv[1], *(sys.argv[2:] or ["127.0.0.1:0"]))
