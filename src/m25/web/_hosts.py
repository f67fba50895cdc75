"""Which names the dashboard answers to.

A page of anybody's can have its own name lead to this machine, and is then of the same site as the
dashboard for the browser: it could read all that is shown there (this is called DNS rebinding). The
name that the browser was given gives it away.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

_PORT: Final = re.compile(r":\d+$")


class Hosts:
    """Refuses requests for other names.

    Args:
        app: what answers to the others.
        names: the names; an address of IPv6 stands in brackets.
    """

    def __init__(self, app: ASGIApp, names: Sequence[str]) -> None:
        self._app = app
        self._names = {name.lower() for name in names}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        if scope["type"] == "http":
            name = _PORT.sub("", Headers(scope=scope).get("Host", "")).lower()
            if name not in self._names:  # rule: the dashboard answers to its own names
                words = "The dashboard does not answer to this name: see --host of m25 web.\n"
                await PlainTextResponse(words, 421)(scope, receive, send)
                return
        await self._app(scope, receive, send)
