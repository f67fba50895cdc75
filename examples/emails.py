"""A typed queue: one handler, one declared error, and a program that waits for the outcome."""

import sys

import attrs
import trio

import m25


@attrs.frozen
class Email:
    to: str
    subject: str


@attrs.frozen
class MailboxFull(Exception):
    to: str


@m25.queue("emails", errors=(MailboxFull,), max_concurrency=20)
async def emails(email: Email) -> str:
    if email.to.startswith("full@"):
        raise MailboxFull(email.to)
    return f"sent {email.subject!r} to {email.to}"


async def main(dsn: str) -> None:
    async with m25.open(dsn) as m:
        m.add_queue(emails)
        await m.start()
        hello = m25.Job(Email("full@example.org", "Hello")).retry(max_attempts=2, delay=0.1)
        for job in (m25.Job(Email("ada@example.org", "Welcome")), hello):
            record = await m.enqueue(emails, job)
            record = await m.wait(emails, record.id)
            print(record.status.value, record.output or repr(record.error_data))


if __name__ == "__main__":
    trio.run(main, sys.argv[1])
