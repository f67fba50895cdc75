"""Mails that go out many at a time: each has its own outcome, and one bad address harms no other.

python examples/batches.py
"""

from __future__ import annotations

import attrs
import trio

import m25
import m25.testing


@attrs.frozen
class Mail:
    to: str


class NoMailbox(Exception):
    pass


#: How many mails each call had.
sizes: list[int] = []


async def send_all(addresses: list[str]) -> list[int]:
    """Stands for an API that takes many mails, and answers for each: 250, 450 or 550."""
    await trio.sleep(0.01)
    return [550 if "?" in each else 450 if each.startswith("busy") else 250 for each in addresses]


def outcome_of(code: int, job: m25.RunningJob[Mail, str, NoMailbox]) -> str | Exception:
    if code == 550:
        return NoMailbox(job.input.to)
    if code == 450 and job.attempt == 1:
        return m25.RetryAfter(0.1)
    return f"sent in attempt {job.attempt}"


@m25.queue("mails", batch=m25.Batch(100, wait=0.05), errors=(NoMailbox,), max_concurrency=2)
async def mails(batch: list[Mail]) -> list[str | Exception]:
    """One call for up to a hundred jobs, and an outcome for each."""
    sizes.append(len(batch))
    codes = await send_all([mail.to for mail in batch])
    return [outcome_of(code, job) for code, job in zip(codes, m25.current_jobs(), strict=True)]


async def main() -> None:
    addresses = ["ada", "bob?", "busy", *(f"reader {number}" for number in range(147))]
    async with m25.testing.open() as m:
        m.add_queue(mails)
        await m.enqueue_many(mails, [m25.Job(Mail(to), max_attempts=3) for to in addresses])
        await m.start()
        await m25.testing.drain(m, scheduled=True)
        ended = {job.input.to: job for job in m25.testing.jobs(m, mails)}
    print("mails in the largest batch:", max(sizes))
    for to in ("ada", "bob?", "busy"):
        print(to, ended[to].status.value, ended[to].output or repr(ended[to].error_data))


if __name__ == "__main__":
    trio.run(main)
