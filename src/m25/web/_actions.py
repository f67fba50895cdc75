"""What can be done from the pages: by a form of somebody who has signed in, and not otherwise.

Each answers with the page that it was asked from, which says what has become of it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Final, TypeAlias
from urllib.parse import parse_qsl, quote, urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from .._client import M25
from .._errors import M25Error
from .._operations import ChangedJobs
from ._access import FIELD, Access
from ._templates import base_of
from ._watch import Watch

#: What `cancelled_by` of a job says.
_BY: Final = "m25 web"
#: No form is longer, in bytes.
_LONGEST_FORM: Final = 64 * 1024

Form: TypeAlias = Mapping[str, str]


class NotDone(Exception):
    """It was not done; the message says why."""


#: What an action does; it returns what was done, in words, and raises `NotDone` or m25's errors.
Act: TypeAlias = Callable[[M25, Request, Form], Awaitable[str]]


async def read_form(request: Request) -> Form:
    """The fields of a form.

    Raises:
        HTTPException: it is longer than a form of ours can be.
    """
    body = b""
    async with aclosing(request.stream()) as parts:
        async for part in parts:
            body += part
            if len(body) > _LONGEST_FORM:
                raise HTTPException(413, "The form is too long.")
    return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))


def action(
    m: M25, watch: Watch, access: Access, act: Act, back: Callable[[Request, Form], str]
) -> Callable[[Request], Awaitable[Response]]:
    """What answers to a form.

    Args:
        m: the client.
        watch: what is to be asked anew afterwards.
        access: who may do it.
        act: what is done.
        back: the address within the dashboard that is shown next.
    """

    async def answer(request: Request) -> Response:
        form = await read_form(request)
        if not access.may_act(request, form.get(FIELD, "")):
            raise HTTPException(
                403, "It was not done, since you are not signed in, or not any more."
            )
        try:
            words, is_good = await act(m, request, form), True
        except (M25Error, NotDone) as error:
            words, is_good = f"It was not done: {error}", False
        watch.forget()
        address = base_of(request) + back(request, form)
        separator = "&" if "?" in address else "?"
        return RedirectResponse(
            f"{address}{separator}{access.with_words(words, is_good=is_good)}", 303
        )

    return answer


async def retry(m: M25, request: Request, _: Form) -> str:
    """Have a job tried once more."""
    _check(await m.retry(request.path_params["id"]))
    return "It is tried once more."


async def skip(m: M25, request: Request, _: Form) -> str:
    """Let those go on that are behind a job."""
    _check(await m.skip(request.path_params["id"]))
    return "It is skipped: what is behind it goes on."


async def cancel(m: M25, request: Request, form: Form) -> str:
    """Cancel a job, also while it runs."""
    id = request.path_params["id"]
    changed = await m.cancel(id, by=_BY, reason=_reason(form))
    _check(changed)
    return "It was asked to end; its worker cancels it." if changed.asked else "It is cancelled."


async def pause(m: M25, _: Request, form: Form) -> str:
    """Pause a queue."""
    await m.pause(form.get("name", ""), reason=_reason(form))
    return "The queue is paused: none of its jobs begins."


async def resume(m: M25, _: Request, form: Form) -> str:
    """Resume a queue."""
    await m.resume(form.get("name", ""))
    return "The queue is not paused any more."


async def pause_schedule(m: M25, _: Request, form: Form) -> str:
    """Pause a schedule."""
    name = form.get("name", "")
    await m.pause_schedule(name)
    return f"The schedule {name!r} is paused."


async def resume_schedule(m: M25, _: Request, form: Form) -> str:
    """Resume a schedule."""
    name = form.get("name", "")
    await m.resume_schedule(name)
    return f"The schedule {name!r} is not paused any more."


async def run_schedule(m: M25, _: Request, form: Form) -> str:
    """Put a schedule's job on its queue now."""
    record = await m.run_schedule(form.get("name", ""))
    return f"Its job is on the queue: {record.id}."


def to_job(request: Request, _: Form) -> str:
    """The address of the job that was meant."""
    return f"/jobs/{quote(request.path_params['id'], safe='')}"


def to_queue(_: Request, form: Form) -> str:
    """The address of the queue that was meant."""
    return f"/queue?{urlencode({'name': form.get('name', '')})}"


def to_schedules(_: Request, __: Form) -> str:
    """The address of the schedules."""
    return "/schedules"


def _check(changed: ChangedJobs) -> None:
    if changed.refused:
        raise NotDone(changed.refused[0].reason)


def _reason(form: Form) -> str | None:
    return form.get("reason", "").strip() or None
