"""The dashboard: an app, and which address is whose."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

import trio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from .._client import M25
from . import _actions, _views
from ._access import FIELD, Access, is_from_here
from ._headers import Headers
from ._hosts import Hosts
from ._live import LiveResponse
from ._templates import Templates, base_of
from ._views import View
from ._watch import Answer, Watch

#: Every page: its address, and what it shows.
_PAGES: Final = (
    ("/", _views.queues),
    ("/queue", _views.queue),
    ("/jobs", _views.jobs),
    ("/jobs/{id}", _views.job),
    ("/limits", _views.limits),
    ("/workers", _views.workers),
    ("/schedules", _views.schedules),
)

#: Whatever can be done: the address of its form, what is done, and which page is shown next.
_ACTIONS: Final = (
    ("/jobs/{id}/retry", _actions.retry, _actions.to_job),
    ("/jobs/{id}/skip", _actions.skip, _actions.to_job),
    ("/jobs/{id}/cancel", _actions.cancel, _actions.to_job),
    ("/queue/pause", _actions.pause, _actions.to_queue),
    ("/queue/resume", _actions.resume, _actions.to_queue),
    ("/schedules/pause", _actions.pause_schedule, _actions.to_schedules),
    ("/schedules/resume", _actions.resume_schedule, _actions.to_schedules),
    ("/schedules/run", _actions.run_schedule, _actions.to_schedules),
)


def app(
    m: M25,
    *,
    token: str | None = None,
    private: bool = False,
    hosts: Sequence[str] | None = None,
    target: str = "",
) -> Dashboard:
    """Make a dashboard of a client's jobs: an ASGI app, for a server that runs on Trio.

    It may be mounted under a path of another app. It needs a client that is open, and no queues:
    all is known by name.

    Args:
        m: the client.
        token: what one signs in with to retry and cancel jobs, and to pause and resume queues and
            schedules: 16 characters or more, kept like a password. Without it nobody can, and all
            is read-only.
        private: show nothing to those who have not signed in. Without it whoever reaches the app
            sees all inputs, outputs and errors.
        hosts: the names in addresses that it answers to, without ports; `None` is all. A dashboard
            that is not private, and is reached without a sign-in of your own, should name them:
            else a page of anybody's could read it through the browser of somebody who reaches it.
        target: what the pages say of where the jobs are.

    Raises:
        UsageError: the token is too short, or `private` is without one.
    """
    return Dashboard(m, token, private, hosts, target)


class Dashboard:
    """An ASGI app; see `app`."""

    def __init__(
        self,
        m: M25,
        token: str | None,
        private: bool,
        hosts: Sequence[str] | None,
        target: str,
    ) -> None:
        self._access = Access(token, private)
        self._watch = Watch(m)
        self._templates = Templates(self._access, self._watch, target)
        self._stopping = trio.Event()
        self._app = Starlette(
            routes=[
                *(Route(f"/live{path}", self._stream(view)) for path, view in _PAGES),
                *(Route(path, self._page(view)) for path, view in _PAGES),
                *(
                    Route(
                        path,
                        _actions.action(m, self._watch, self._access, act, back),
                        methods=["POST"],
                    )
                    for path, act, back in _ACTIONS
                ),
                Route("/sign-in", self._show_sign_in, methods=["GET"]),
                Route("/sign-in", self._sign_in, methods=["POST"]),
                Route("/sign-out", self._sign_out, methods=["POST"]),
                Mount("/static", StaticFiles(directory=Path(__file__).parent / "static")),
            ],
            middleware=[
                Middleware(Headers),
                *([] if hosts is None else [Middleware(Hosts, names=hosts)]),
            ],
            exception_handlers={HTTPException: self._say_why_not},
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, as servers call it."""
        await self._app(scope, receive, send)

    def stop(self) -> None:
        """End all streams, now and for good: call it when the server is asked to stop.

        Servers wait for the answers that are under way, and a page that is open has one without an
        end: hypercorn cuts them off after `graceful_timeout`, which is 3 s.
        """
        self._stopping.set()

    def _page(self, view_of: Callable[[Request], View]) -> Callable[[Request], Awaitable[Response]]:
        async def page(request: Request) -> Response:
            if (elsewhere := self._where_to_sign_in(request)) is not None:
                return elsewhere
            view = view_of(request)
            assert view.question is not None, "a page of the table asks something"
            answer = await self._watch.answer(view.question)
            return self._templates.page(request, view, answer, _status_of(view, answer))

        return page

    def _stream(
        self, view_of: Callable[[Request], View]
    ) -> Callable[[Request], Awaitable[Response]]:
        async def stream(request: Request) -> Response:
            if not self._access.may_look(request):
                raise HTTPException(403, "Sign in first.")
            view = view_of(request)
            assert view.question is not None, "a page of the table asks something"

            def render(answer: Answer) -> str:
                return self._templates.part(request, view, answer)

            return LiveResponse(self._watch, view.question, render, self._stopping)

        return stream

    async def _show_sign_in(self, request: Request) -> Response:
        return self._templates.page(request, _views.sign_in(request))

    async def _sign_in(self, request: Request) -> Response:
        form = await _actions.read_form(request)
        if not is_from_here(request) or not self._access.is_token(form.get("token", "")):
            view = _views.sign_in(request, "That is not the token.")
            return self._templates.page(request, view, status=403)
        response = RedirectResponse(f"{base_of(request)}/", 303)
        self._access.sign_in(request, response)
        return response

    async def _sign_out(self, request: Request) -> Response:
        form = await _actions.read_form(request)
        response = RedirectResponse(f"{base_of(request)}/", 303)
        if self._access.may_act(request, form.get(FIELD, "")):
            self._access.sign_out(request, response)
        return response

    async def _say_why_not(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException), "it is for these alone"
        view = _views.message(f"{error.status_code}", error.detail)
        return self._templates.page(request, view, status=error.status_code)

    def _where_to_sign_in(self, request: Request) -> Response | None:
        if self._access.may_look(request):
            return None
        return RedirectResponse(f"{base_of(request)}/sign-in", 303)


def _status_of(view: View, answer: Answer) -> int:
    if answer.failure is not None:
        return 503
    if answer.mistake is not None:
        return 400
    return 200 if view.is_known(answer.value) else 404
