"""Handlers that are called with several jobs: to all others their queues are those of one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Never, assert_type

import attrs

import m25


@attrs.frozen
class Mail:
    to: str


@attrs.frozen
class Receipt:
    pages: int


class Bounced(Exception):
    pass


@m25.queue("mails", batch=m25.Batch(100, wait=0.2), errors=(Bounced,), max_concurrency=3)
async def mails(batch: list[Mail]) -> list[Receipt | Exception]:
    assert_type(m25.current_jobs()[0].id, m25.JobId)
    return [Receipt(1), Bounced(), m25.RetryAfter(60)]


assert_type(mails, m25.Queue[Mail, Receipt, Bounced])


@m25.queue("all of them", batch=m25.Batch(100))
async def all_of_them(batch: list[Mail]) -> list[Receipt]:
    return [Receipt(1) for _ in batch]


assert_type(all_of_them, m25.Queue[Mail, Receipt, Never])


@m25.queue("nothing", batch=m25.Batch(100))
async def nothing(batch: Sequence[Mail], *, shared: int) -> None: ...


assert_type(nothing, m25.Queue[Mail, None, Never])


@m25.queue("nothing or errors", batch=m25.Batch(100))
async def nothing_or_errors(batch: list[Mail]) -> list[Exception | None]:
    return [None for _ in batch]


assert_type(nothing_or_errors, m25.Queue[Mail, None, Never])


@m25.queue("one", batch=m25.Batch(100))  # error
async def one(mail: Mail) -> list[Receipt]:
    return []


@m25.queue("one at a time", batch=m25.Batch(100))  # error
async def one_at_a_time(batch: list[Mail]) -> Receipt:
    return Receipt(1)


declared = m25.declare("declared", input=Mail, output=Receipt, errors=(Bounced,))


@m25.queue(declared, batch=m25.Batch(100))
async def of_declared(batch: list[Mail]) -> list[Receipt | Exception]:
    return [Receipt(1) for _ in batch]


assert_type(of_declared, m25.Queue[Mail, Receipt, Bounced])


@m25.queue(declared, batch=m25.Batch(100))  # error
async def of_another_input(batch: list[int]) -> list[Receipt | Exception]:
    return []


m25.queue("q", batch=100)  # error


async def put(m: m25.M25) -> None:
    assert_type(await m.enqueue(mails, Mail("ada")), m25.JobRecord[Mail, Receipt, Bounced])
    assert_type(await m.call(mails, Mail("ada")), Receipt)
    await m.enqueue(mails, [Mail("ada")])  # error
