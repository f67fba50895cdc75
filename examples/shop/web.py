"""The shop's pages: `python web.py PORT`. What takes long is left to the worker."""

import json
import sys
from collections.abc import AsyncGenerator
from contextlib import suppress
from pathlib import Path
from typing import Any

import hypercorn
import hypercorn.trio
import jobs
import trio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.templating import Jinja2Templates

import m25

pages = Jinja2Templates(Path(__file__).parent / "templates")


def client(request: Request) -> m25.M25:
    return request.app.state.m  # type: ignore[no-any-return]


async def front(request: Request) -> Response:
    return pages.TemplateResponse(request, "front.html")


async def order(request: Request) -> Response:
    """Take an order, and leave the parcel to the worker."""
    form = await request.form()
    parcel = jobs.Parcel(int(str(form["order"])), str(form["address"]))
    record = await client(request).enqueue(jobs.parcels, parcel)
    return RedirectResponse(f"/parcels/{record.id}", status_code=303)


async def parcel(request: Request) -> Response:
    """How the parcel stands by now, over all attempts."""
    record = await client(request).current(jobs.parcels, request.path_params["id"])
    return pages.TemplateResponse(request, "parcel.html", {"record": record})


async def poster(request: Request) -> Response:
    """Draw a poster, and show it, if that takes no longer than a visitor waits."""
    asked = jobs.Poster(request.query_params["text"], int(request.query_params["rounds"]))
    text, status = "It takes longer today; come back later.", 202
    with trio.move_on_after(60):
        try:
            text, status = await client(request).call(jobs.posters, asked), 200
        except m25.JobFailed as failed:
            text, status = f"This one cannot be drawn: {failed.record.failure_reason}", 422
    return pages.TemplateResponse(request, "poster.html", {"text": text}, status_code=status)


async def print_catalogue(request: Request) -> Response:
    form = await request.form()
    record = await client(request).enqueue(jobs.catalogues, jobs.Catalogue(int(str(form["pages"]))))
    return RedirectResponse(f"/catalogues/{record.id}", status_code=303)


async def catalogue(request: Request) -> Response:
    record = await client(request).current(jobs.catalogues, request.path_params["id"])
    return pages.TemplateResponse(request, "catalogue.html", {"record": record})


async def progress(request: Request) -> Response:
    """How far a catalogue is, as it happens, and at last how it ended."""
    m, id = client(request), request.path_params["id"]

    async def events() -> AsyncGenerator[str]:
        async for step in m.progress(jobs.catalogues, id):
            yield _event("step", {"done": step.done, "total": step.total, "note": step.note})
        record = await m.wait(jobs.catalogues, id)
        yield _event("end", {"status": record.status.value, "reason": record.cancel_reason})

    return StreamingResponse(events(), media_type="text/event-stream")


def _event(name: str, data: dict[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"


async def cancel(request: Request) -> Response:
    """Stop a catalogue, also while it is printed."""
    id = request.path_params["id"]
    # InvalidState: it has ended by itself; the page says how.
    with suppress(m25.InvalidState):
        await client(request).cancel_job(
            jobs.catalogues, id, running=True, by="visitor", reason="not wanted any more"
        )
    return RedirectResponse(f"/catalogues/{id}", status_code=303)


app = Starlette(
    routes=[
        Route("/", front),
        Route("/orders", order, methods=["POST"]),
        Route("/parcels/{id}", parcel),
        Route("/posters", poster),
        Route("/catalogues", print_catalogue, methods=["POST"]),
        Route("/catalogues/{id}", catalogue),
        Route("/catalogues/{id}/progress", progress),
        Route("/catalogues/{id}/cancel", cancel, methods=["POST"]),
    ]
)


async def main(port: int) -> None:
    config = hypercorn.Config()
    config.bind = [f"127.0.0.1:{port}"]
    async with m25.open() as m:
        app.state.m = m
        await hypercorn.trio.serve(app, config, shutdown_trigger=m25.until_signal)  # type: ignore[arg-type]


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]))
