"""From values to HTML. What comes from the database is text, whatever it holds."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import jinja2
from starlette.datastructures import URL
from starlette.requests import Request
from starlette.responses import HTMLResponse

from .. import _glance
from .._lifecycle import FailureReason
from . import _words
from ._access import FIELD, Access
from ._views import View
from ._watch import Answer, Watch

#: The parts of the dashboard: name, address, and what the link says.
_PARTS: Final = (
    ("queues", "/", "Queues"),
    ("jobs", "/jobs", "Jobs"),
    ("limits", "/limits", "Limits"),
    ("workers", "/workers", "Workers"),
    ("schedules", "/schedules", "Schedules"),
)

#: Why an attempt has failed, in words.
_REASONS: Final = {
    FailureReason.ERRORED.value: "It raised a declared error",
    FailureReason.CRASH.value: "It crashed",
    FailureReason.JOB_TIMEOUT.value: "It took longer than its timeout",
    FailureReason.HEARTBEAT_TIMEOUT.value: "It was lost with its process",
}

_NOTHING: Final = Answer(None, None, None, 0.0)


def base_of(request: Request) -> str:
    """Under which path the dashboard is mounted."""
    return str(request.scope.get("root_path", ""))


class Templates:
    """One for each dashboard.

    Args:
        access: who may do something.
        watch: what was seen before.
        target: what the pages say of where the jobs are.
    """

    def __init__(self, access: Access, watch: Watch, target: str) -> None:
        self._access = access
        self._watch = watch
        self._environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters["count"] = _glance.count
        self._environment.filters["pace"] = _glance.pace
        for name in ("span", "ago", "stamp", "pretty", "line"):
            self._environment.filters[name] = getattr(_words, name)
        # What is shown as a command may be copied into a shell.
        self._environment.filters["quoted"] = shlex.quote
        #: What every template is given.
        self._common: dict[str, Any] = {
            "parts": _PARTS,
            "reasons": _REASONS,
            "long_wait": _glance.LONG_WAIT,
            "long_silence": _glance.LONG_SILENCE,
            "csrf_field": FIELD,
            "can_sign_in": access.is_possible,
            "target": target,
            "version": version("m25"),
        }

    def page(
        self, request: Request, view: View, answer: Answer = _NOTHING, status: int = 200
    ) -> HTMLResponse:
        """A whole page."""
        values = self._values(request, view, answer)
        query = self._access.without_words(request.url).query
        live = URL(f"{base_of(request)}/live{_path(request)}").replace(query=query)
        html = self._environment.get_template("base.html").render(
            values, view=view, live=str(live), said=self._access.words_in(request)
        )
        return HTMLResponse(html, status)

    def part(self, request: Request, view: View, answer: Answer) -> str:
        """The part of a page that is kept up to date."""
        return self._environment.get_template(view.template).render(
            self._values(request, view, answer)
        )

    def _values(self, request: Request, view: View, answer: Answer) -> Mapping[str, Any]:
        shown: Mapping[str, Any] = {}
        if answer.value is not None:
            shown = view.values(answer.value, self._watch.history)
        return {
            **self._common,
            **view.fixed,
            **shown,
            "answer": answer,
            "base": base_of(request),
            "csrf": self._access.csrf_of(request),
            "now": datetime.now(UTC),
        }


def _path(request: Request) -> str:
    """The path within the dashboard."""
    path = str(request.scope["path"])
    return path.removeprefix(base_of(request)) or "/"
