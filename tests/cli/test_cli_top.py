"""`m25 top`, as whoever watches it sees it."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta

import pytest
import trio
import trio.testing
from rich.console import Console

import m25
from m25 import errors, testing
from m25._operator import QueueRecord
from m25.cli import main
from m25.cli._top_screen import Screen, Seen, render
from m25.cli.top import watch
from support.waiting import rows

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


@m25.queue("mails")
async def mails(word: str) -> str:
    return word.upper()


def queue(name: str, **columns: object) -> QueueRecord:
    zeros = dict.fromkeys(("due", "scheduled", "waiting", "running", "failed", "workers"), 0)
    names = {field for field in QueueRecord.__annotations__ if field not in zeros}
    return QueueRecord(**{**dict.fromkeys(names), **zeros, "name": name, **columns})


def text_of(seen: Seen, width: int = 150) -> str:
    console = Console(file=io.StringIO(), width=width, record=True)
    console.print(render(seen, NOW))
    return console.export_text()


def row_of(text: str, name: str) -> list[str]:
    (line,) = [line for line in text.splitlines() if name in line]
    return [cell.strip() for cell in line.strip("│┃ ").split("│")]


def test_a_queue_has_a_row_with_what_is_on_it_and_what_has_ended() -> None:
    seen = Seen(
        "shop",
        [
            queue("mails", due=1_234, due_since=NOW - timedelta(hours=3), running=7, workers=2),
            queue("[red]odd[/red]", due=100_000, paused_at=NOW),
        ],
        {
            "mails": m25.QueueRate(
                queue_name="mails",
                ended=60,
                failed=1,
                waited=timedelta(seconds=90),
                ran=timedelta(milliseconds=20),
            )
        },
        [
            m25.WorkerRecord(
                id="01a2b3c4-0000-7000-0000-000000000000",
                version="1.0",
                queues=("mails", "[bold]"),
                started_at=NOW,
                silent_for=timedelta(minutes=5),
            )
        ],
    )
    text = text_of(seen)
    assert text.startswith("m25 top: shop, 12:00:00 UTC")
    cells = ["mails", "1,234", "3 h", "7", "0", "0", "0", "60", "2 min", "20 ms", "2"]
    assert row_of(text, "1,234") == cells
    # Nothing that a name holds is taken for markup.
    assert row_of(text, "odd")[:3] == ["[red]odd[/red] paused", "100,000+", "–"]
    assert row_of(text, "01a2") == ["01a2b3c4-0000-7000", "1.0", "5 min ago", "mails, [bold]"]


def test_on_a_narrow_terminal_columns_are_left_out_and_none_is_cut() -> None:
    seen = Seen("shop", [queue("mails", due=1_234, due_since=NOW - timedelta(hours=3), workers=2)])
    wide, narrow = text_of(seen), text_of(seen, 80)
    for column in ("due", "oldest", "running", "waiting", "failed", "workers"):
        assert f" {column} " in narrow
    assert row_of(narrow, "1,234")[:3] == ["mails", "1,234", "3 h"]
    (line,) = [line for line in narrow.splitlines() if "no room" in line]
    spared = line.partition(":")[2].strip().split(", ")
    assert "waited" in spared
    assert all(f" {column} " in wide and f" {column} " not in narrow for column in spared)
    assert "no room" not in wide


async def test_it_asks_one_thing_a_second_and_says_where_the_database_fails(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []
    calls = 0
    seen = Seen("shop")
    async with testing.open() as m, trio.open_nursery() as nursery:
        m.add_queue(mails)
        await m.start()
        await m.call(mails, "hello")
        queues = m.queues

        async def count() -> list[QueueRecord]:
            nonlocal calls
            calls += 1
            if calls == 2:
                raise errors.JobRecordFetchQueryError("it is away")
            return await queues()

        monkeypatch.setattr(m, "queues", count)
        nursery.start_soon(watch, m, seen, lambda seen: shown.append(text_of(seen)))
        await trio.sleep(8.5)
        nursery.cancel_scope.cancel()
    assert (len(shown), calls) == (9, 3)
    assert row_of(shown[1], "mails ")[7] == "1"
    assert "the database does not answer: it is away" in shown[3]
    assert "does not answer" not in shown[4]


def test_on_a_terminal_each_look_takes_the_place_of_the_one_before() -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=150, height=20)
    with Screen(console).live() as update:
        update(Seen("shop", [queue("first")]))
        update(Seen("shop", [queue("second")]))
    assert "first" in file.getvalue()
    assert "second" in file.getvalue()


async def test_where_there_is_no_terminal_all_is_shown_once(
    dsn: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "150")
    await rows(dsn, "insert into m25.queue (name, default_job_timeout) values ('letters', '1 h')")
    assert await trio.to_thread.run_sync(main, ["top", "--addr", dsn]) == 0
    assert row_of(capsys.readouterr().out, "letters")[0] == "letters"


def test_a_database_that_cannot_be_reached_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["top", "--addr", "postgresql://ada:sesame@127.0.0.1:1/shop"]) == 1
    said = capsys.readouterr().err
    assert "ada@127.0.0.1:1/shop" in said
    assert "sesame" not in said
    assert main(["top", "--addr", "sesame"]) == 2
