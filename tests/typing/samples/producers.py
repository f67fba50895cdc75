"""Producers without Trio, and declared queues: what a type checker accepts, and what not."""

from __future__ import annotations

from typing import Never, assert_type

import attrs
import psycopg

import m25
import m25.sync


@attrs.frozen
class Email:
    to: str


class MailboxFull(Exception):
    pass


class NoSuchMailbox(Exception):
    pass


emails = m25.declare("emails", input=Email, output=str, errors=(MailboxFull, NoSuchMailbox))
numbers = m25.declare("numbers", input=list[int], output=None)
assert_type(emails, m25.DeclaredQueue[Email, str, MailboxFull | NoSuchMailbox])

assert_type(emails.json_schema(), m25.QueueSchema)
tolerant = m25.declare("emails", input=Email, output=str, unknown_fields="ignore")
assert_type(tolerant, m25.DeclaredQueue[Email, str, Never])

m25.declare("emails", input=Email, output=str, unknown_fields="drop")  # error
m25.declare("emails", output=str)  # error
m25.declare("emails", input=Email, output=str, errors=(str,))  # error


@m25.queue(emails, max_concurrency=3)
async def send(email: Email) -> str:
    return email.to


assert_type(send, m25.Queue[Email, str, MailboxFull | NoSuchMailbox])


@m25.queue(emails)  # error
async def of_another_input(email: int) -> str:
    return str(email)


@m25.queue(numbers)
async def add(given: list[int]) -> None:
    pass


def enqueue(connection: psycopg.Connection, id: m25.JobId) -> None:
    record = m25.sync.enqueue(connection, emails, Email("ada"))
    assert_type(record, m25.JobRecord[Email, str, MailboxFull | NoSuchMailbox])
    m25.sync.enqueue(connection, send, m25.Job(Email("ada"), max_attempts=5))
    m25.sync.enqueue(connection, emails, "ada")  # error
    m25.sync.enqueue(connection, send, "ada")  # error
    m25.sync.enqueue(connection, "emails", Email("ada"))  # error
    m25.sync.enqueue_many(connection, emails, [Email("ada")])
    m25.sync.enqueue_many(connection, emails, ["ada"])  # error
    assert_type(m25.sync.result(connection, emails, id, timeout=3), str)
    assert_type(m25.sync.result(connection, numbers, id), None)
    m25.sync.result(connection, emails, id, timeout="3")  # error


async def enqueue_by_trio(m: m25.M25) -> None:
    await m.enqueue(emails, Email("ada"))
    await m.enqueue(emails, "ada")  # error
    m.add_queue(send)
    m.add_queue(emails)  # error
