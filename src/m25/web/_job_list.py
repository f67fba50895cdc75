"""Which jobs a page lists: in its address, in its form, and as the client is asked."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlencode

import attrs

from .._client import M25
from .._job_filter import JobFilter
from .._lifecycle import JobStatus
from .._summaries import JobPage
from ..cli._which import parse_where
from ..cli._words import parse_duration

#: How many jobs a page has.
PAGE: Final = 50
#: How long a look may take, in seconds, so that a page is there at once. What a look for a part of
#: the input has not come to by then is on the next page.
_SECONDS: Final = 0.15

#: What may be said, in the order of the form.
FIELDS: Final = ("queue", "status", "since", "where", "after")


class WrongFilter(Exception):
    """What was asked for means nothing; the message says why, and what to write."""


@attrs.frozen
class JobList:
    """What is in the address, as it was written. An empty text is that nothing is said."""

    queue: str = ""
    status: str = ""
    since: str = ""
    where: str = ""
    after: str = ""

    @classmethod
    def of(cls, query: Mapping[str, str]) -> JobList:
        """That of an address; what is no part of it is left out."""
        return cls(**{name: query.get(name, "").strip() for name in FIELDS})

    def address(self, **changes: str) -> str:
        """The query of an address that lists the same jobs, but for some changes."""
        said = {name: getattr(attrs.evolve(self, **changes), name) for name in FIELDS}
        return urlencode({name: value for name, value in said.items() if value})

    @property
    def is_filter(self) -> bool:
        """Whether it is not about all jobs."""
        return bool(self.queue or self.status or self.since or self.where)

    def filter(self) -> JobFilter:
        """What the client is asked.

        Raises:
            WrongFilter: a part means nothing.
        """
        which = JobFilter()
        if self.queue:
            which["queue"] = self.queue
        if self.status:
            which["status"] = _status(self.status)
        if self.since:
            which["since"] = _since(self.since)
        if self.where:
            which["where"] = _where(self.where)
        return which

    async def find(self, m: M25) -> JobPage:
        """The jobs of the page.

        Raises:
            WrongFilter: a part means nothing.
            DatabaseError: the database failed.
        """
        which = self.filter()
        try:
            return await m.jobs(limit=PAGE, after=self.after or None, seconds=_SECONDS, **which)
        except (ValueError, OverflowError) as error:
            raise WrongFilter(str(error)) from error


def _status(text: str) -> JobStatus:
    try:
        return JobStatus(text)
    except ValueError:
        raise WrongFilter(f"no job is {text!r}") from None


def _since(text: str) -> timedelta:
    try:
        return parse_duration(text)
    except argparse.ArgumentTypeError as error:
        raise WrongFilter(str(error)) from None


def _where(text: str) -> Any:
    if text.startswith(("{", "[", '"')):
        try:
            return json.loads(text)
        # RecursionError: it is deeper than Python reads.
        except (ValueError, RecursionError):
            raise WrongFilter("what the input contains begins like JSON, and is none") from None
    path = text if text.startswith(("input.", "input=")) else f"input.{text}"
    try:
        return parse_where(path)
    except argparse.ArgumentTypeError:
        raise WrongFilter(
            f"not a part of an input: {text!r}; write customer=7, or address.city=Rome, or JSON"
        ) from None
