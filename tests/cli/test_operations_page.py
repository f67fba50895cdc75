"""Each command of docs/operations.md prints what the page says."""

from __future__ import annotations

import re
import shlex
from datetime import UTC, datetime, timedelta
from pathlib import Path

import attrs
import pytest
import trio

import m25
from m25._worker import announcer
from m25.cli import main
from support.waiting import PATIENCE

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)
#: What differs each time, or from one Python to the next.
VARIES = (
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "ID"),
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(\+00:00)?", "TIME"),
    (r"[\d.e-]+ (s|min|h|d)\b", "SPAN"),
    (r"    Traceback.*(\n    .*)*", "TRACEBACK"),
    (r" {2,}", "  "),
)
#: The ids of the page's jobs.
IDS = [f"019a0000-0000-7000-8000-00000000000{number}" for number in range(1, 5)]

mailboxes: set[str] = set()


@attrs.frozen
class Mail:
    to: str


@m25.queue("mails", limit=m25.Limit(20, name="relay"))
async def mails(mail: Mail) -> str:
    if mail.to not in mailboxes:
        raise LookupError(f"no mailbox {mail.to}")
    return "sent"


def mails_of_the_page() -> list[m25.Job[Mail]]:
    names = ("ada", "eve", "bob", "ada")
    later = datetime.now(UTC) + timedelta(hours=100)
    times = (None, None, None, later)
    return [
        m25.Job(Mail(f"{name}@example.org"), id=m25.JobId(id), scheduled_at=at)
        for name, id, at in zip(names, IDS, times, strict=True)
    ]


async def work(dsn: str, *new: m25.Job[Mail]) -> None:
    """Let a worker do what is due."""
    async with m25.open(dsn) as m:
        m.add_queue(mails)
        m.add_schedule("newsletter", mails, "30 2 1 * *", input=Mail("all@example.org"))
        await m.start()
        if new:
            await m.enqueue_many(mails, new)
        with trio.fail_after(PATIENCE):
            while (queue := (await m.queues())[0]).due or queue.running:  # noqa: ASYNC110
                await trio.sleep(0.02)


def alike(text: str) -> list[str]:
    for pattern, instead in VARIES:
        text = re.sub(pattern, instead, text)
    return [line.rstrip() for line in text.splitlines()]


def test_each_command_prints_what_the_page_says(
    dsn: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", dsn)
    # The page has no worker: each has said goodbye, however busy the server is.
    monkeypatch.setattr(announcer, "_GOODBYE", PATIENCE)
    mailboxes.clear()
    mailboxes.update(("ada@example.org", "bob@example.org"))
    trio.run(work, dsn, *mails_of_the_page())
    capsys.readouterr()
    for block in BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        printed = ""
        for command in re.findall(r"^\$ m25 (.*)$", block, re.MULTILINE):
            main(shlex.split(command))
            said = capsys.readouterr()
            printed += f"$ m25 {command}\n{said.out}{said.err}"
            if command.startswith("retry"):
                mailboxes.add("eve@example.org")
                trio.run(work, dsn)
                capsys.readouterr()
        assert alike(block) == alike(printed)
