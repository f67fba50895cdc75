#!/usr/bin/env bash
# hypercorn 0.18.0 on Trio 0.35.0: when the server is asked to stop, an app with an open stream is told
# nothing. It goes on until `graceful_timeout` (3 s by itself) is over, and is then cancelled, so that the
# client's answer is cut off in the middle.
#
# One would take it that the app hears `http.disconnect`, as when a client goes, and could end the
# stream by itself. An app that has streams without an end (server-sent events) needs a signal of its
# own: the shutdown trigger is the place to give it.
# Seen: "the app was cancelled, and heard nothing", and "the client's answer was cut off".
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    'hypercorn[trio]==0.18.0' 'trio==0.35.0' 'httpx==0.28.1'
cat > "$folder/program.py" <<'PROGRAM'
import sys
from functools import partial

import httpx
import hypercorn
import hypercorn.trio
import trio

heard: list[str] = []
opened = trio.Event()
stopping = trio.Event()


async def app(scope, receive, send):
    assert scope["type"] == "http"
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello", "more_body": True})
    try:
        heard.append((await receive())["type"])
    except trio.Cancelled:
        heard.append("cancelled")
        raise


async def main() -> None:
    config = hypercorn.Config()
    config.bind = ["127.0.0.1:0"]
    config.graceful_timeout = 1
    config.loglevel = "CRITICAL"
    async with trio.open_nursery() as nursery:
        serve = partial(hypercorn.trio.serve, app, config, shutdown_trigger=stopping.wait, mode="asgi")
        (url,) = await nursery.start(serve)
        async with httpx.AsyncClient() as client, client.stream("GET", url) as answer:
            parts = answer.aiter_bytes()
            assert await anext(parts) == b"hello"
            stopping.set()
            try:
                async for _ in parts:
                    pass
                end = "complete"
            except httpx.RemoteProtocolError:
                end = "cut off"
    print("the app was cancelled, and heard nothing" if heard == ["cancelled"] else heard)
    print(f"the client's answer was {end}")
    sys.exit(heard != ["cancelled"] or end != "cut off")


trio.run(main)
PROGRAM
"$folder/venv/bin/python" "$folder/program.py"
