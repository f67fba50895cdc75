"""A browser for the dashboard, in the process of the test: requests, and streams as they come."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from html.parser import HTMLParser
from typing import Any, Self

import httpx
import trio

from m25.web import Dashboard
from support.waiting import PATIENCE

HOST = "http://dashboard"
TOKEN = "sesame-sesame-sesame"


class Stream:
    """The events of one open page."""

    def __init__(self, app: Dashboard, path: str, query: str, cookie: str) -> None:
        self._app = app
        self._scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(b"host", b"dashboard"), (b"cookie", cookie.encode())],
            "server": ("dashboard", 80),
        }
        self._gone = trio.Event()
        self._send, self._events = trio.open_memory_channel[str](1000)
        self.has_ended = trio.Event()

    async def run(self) -> None:
        await self._app(self._scope, self._receive, self._take)
        self.has_ended.set()

    async def next(self) -> str:
        """The HTML of the next event."""
        with trio.fail_after(PATIENCE):
            return await self._events.receive()

    def close(self) -> None:
        self._gone.set()

    async def _receive(self) -> dict[str, Any]:
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _take(self, message: Any) -> None:
        await trio.lowlevel.checkpoint()
        text = message.get("body", b"").decode()
        if text.startswith("data:"):
            assert text.endswith("\n\n")
            lines = [line.removeprefix("data: ") for line in text.splitlines()]
            self._send.send_nowait("\n".join(lines))


class Browser:
    """One browser, with its cookies."""

    def __init__(self, app: Dashboard) -> None:
        self.app = app
        transport = httpx.ASGITransport(app)
        self._client = httpx.AsyncClient(transport=transport, base_url=HOST)

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._client.__aexit__(*error)

    async def get(self, address: str, **options: Any) -> httpx.Response:
        return await self._client.get(address, **options)

    async def post(self, address: str, **options: Any) -> httpx.Response:
        return await self._client.post(address, **options)

    async def sign_in(self) -> None:
        answer = await self.post("/sign-in", data={"token": TOKEN})
        assert answer.status_code == 303

    async def press(self, page: str, button: str, **fields: str) -> httpx.Response:
        """Send the form of a page that has a button of this name; the page that is shown next."""
        forms = Forms.of((await self.get(page)).text)
        (form,) = [form for form in forms if form.button == button]
        answer = await self.post(form.action, data={**form.fields, **fields})
        assert answer.status_code == 303, answer.text
        return await self.get(answer.headers["Location"])

    @asynccontextmanager
    async def stream(self, address: str) -> AsyncGenerator[Stream]:
        """The stream of a page."""
        path, _, query = address.partition("?")
        cookie = "; ".join(f"{name}={value}" for name, value in self._client.cookies.items())
        stream = Stream(self.app, f"/live{path}", query, cookie)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.run)
            yield stream
            stream.close()


class Form:
    def __init__(self, action: str) -> None:
        self.action = action
        self.fields: dict[str, str] = {}
        self.button = ""


class Forms(HTMLParser):
    """The forms of a page that change something."""

    @classmethod
    def of(cls, html: str) -> list[Form]:
        parser = cls()
        parser.feed(html)
        return parser.forms

    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self._is_open = self._is_in_button = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "form" and values.get("method") == "post":
            self._is_open = True
            self.forms.append(Form(values["action"]))
        elif tag == "input" and self._is_open:
            self.forms[-1].fields[values["name"]] = values.get("value", "")
        self._is_in_button = tag == "button"

    def handle_endtag(self, tag: str) -> None:
        self._is_open &= tag != "form"
        self._is_in_button &= tag != "button"

    def handle_data(self, data: str) -> None:
        if self._is_open and self._is_in_button:
            self.forms[-1].button += data.strip()


class Scripts(HTMLParser):
    """Whatever in a page could run or style, but for the files of the dashboard's own."""

    @classmethod
    def of(cls, html: str) -> list[str]:
        parser = cls()
        parser.feed(html)
        return parser.found

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        is_own = re.fullmatch(r"[\w/]*/static/[\w.-]+\.js", values.get("src", ""))
        if (tag == "script" and not is_own) or tag in ("style", "img", "iframe", "object", "b"):
            self.found.append(self.get_starttag_text() or tag)
        for name, value in values.items():
            if name.startswith("on") or name == "style" or value.startswith("javascript:"):
                self.found.append(self.get_starttag_text() or tag)
