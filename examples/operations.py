"""Failed jobs are found, read and retried. `python examples/operations.py DSN`."""

import json
import sys

import trio

import m25

mailboxes = {"ada@example.org"}


@m25.queue("example mails")
async def mails(to: str) -> str:
    if to not in mailboxes:
        raise LookupError(f"no mailbox {to}")
    return f"sent to {to}"


async def main(dsn: str) -> None:
    async with m25.open(dsn) as m:
        m.add_queue(mails)
        await m.start()
        records = [await m.enqueue(mails, f"{name}@example.org") for name in ("ada", "bob", "eve")]
        for record in records:
            await m.wait(mails, record.id)

        # Nothing here needs the queue itself: its name will do, in any program.
        page = await m.jobs(queue="example mails", status="failed")
        for job in reversed(page.jobs):
            print("failed:", json.loads(job.input), "since", job.error)

        mailboxes.update(("bob@example.org", "eve@example.org"))
        changed = await m.retry(queue="example mails", where="bob@example.org")
        print("retried:", changed.done)
        print(await m.result(mails, records[1].id))

        details = await m.job_details(records[1].id)
        assert details is not None
        for attempt in details.attempts:
            print("attempt", attempt.attempt, attempt.status.value, attempt.crash_message)

        refused = (await m.retry(records[0].id)).refused
        print("not retried:", refused[0].reason)
        print("deleted:", (await m.delete(queue="example mails")).done)


if __name__ == "__main__":
    trio.run(main, sys.argv[1])
