"""`m.stack`: where the handler of a running job waits, for those who ask from anywhere."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from uuid import uuid4

import pytest
import trio
import trio.testing

import m25
from m25 import errors, testing
from m25._store.memory.listeners import Listeners
from m25.cli import main
from m25.testing import MemoryStore

SECRET = "sesame"


async def branch(_: str) -> None:
    await trio.sleep_forever()


async def leaf(_: str) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(branch, SECRET)
        await trio.Event().wait()


class Running:
    """A queue whose jobs run until they are cancelled."""

    def __init__(self, leaves: int = 1) -> None:
        self.began = trio.Event()
        self.leaves = leaves

        @m25.queue("deep", heartbeat_interval=2, default_job_timeout=1_000)
        async def deep(word: str) -> None:
            async with trio.open_nursery() as nursery:
                for number in range(self.leaves):
                    nursery.start_soon(leaf, word, name=f"{word}{number}")
                await trio.testing.wait_all_tasks_blocked()
                self.began.set()
                await trio.sleep_forever()

        self.queue = deep


@asynccontextmanager
async def job_of(m: m25.M25, running: Running) -> AsyncGenerator[m25.JobId]:
    m.add_queue(running.queue)
    await m.start()
    record = await m.enqueue(running.queue, SECRET)
    await running.began.wait()
    yield record.id
    await m.cancel_job(running.queue, record.id, running=True)


async def test_it_shows_the_tree_of_the_handlers_tasks_and_no_value(
    autojump_clock: trio.testing.MockClock,
) -> None:
    running = Running()
    async with testing.open() as m, job_of(m, running) as id:
        stack = await m.stack(running.queue, id)
    assert (stack.id, stack.queue_name, stack.left_out) == (id, "deep", 0)
    handler, *_, waits = stack.task.frames
    assert handler.function == stack.task.function
    assert handler.function.endswith("deep")
    assert handler.file == __file__
    assert waits.function == "sleep_forever"
    (child,) = stack.task.tasks
    assert child.function == "leaf"
    assert "Event.wait" in [frame.function for frame in child.frames]
    (grandchild,) = child.tasks
    assert (grandchild.function, grandchild.tasks) == ("branch", ())
    text = str(stack)
    assert text.startswith(f"job {id} of queue 'deep'\ntask ")
    assert f"\n        task branch\n          {__file__}:" in text
    assert SECRET not in text


async def test_of_a_crowd_of_tasks_some_are_shown_and_the_others_counted(
    autojump_clock: trio.testing.MockClock,
) -> None:
    running = Running(leaves=150)
    async with testing.open() as m, job_of(m, running) as id:
        stack = await m.stack("deep", id)
    assert len(stack.task.tasks) < 100
    assert stack.left_out >= 51
    assert str(stack).endswith(f"… and {stack.left_out} more tasks")


async def test_where_no_notification_arrives_the_next_heartbeat_tells_the_worker(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Listeners, "ask_for_stack", lambda self, asked: None)
    running = Running()
    async with testing.open() as m, job_of(m, running) as id:
        before = trio.current_time()
        assert (await m.stack(None, id)).task.tasks
        assert trio.current_time() - before <= 4


async def test_two_who_ask_at_once_are_both_answered(
    autojump_clock: trio.testing.MockClock,
) -> None:
    running = Running()
    async with testing.open() as m, job_of(m, running) as id, trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(m.stack, running.queue, id)


async def test_a_job_that_does_not_run_has_no_stack(
    autojump_clock: trio.testing.MockClock,
) -> None:
    running = Running()
    async with testing.open() as m:
        record = await m.enqueue(running.queue, SECRET)
        with pytest.raises(errors.NotRunning, match="is pending: only a job that runs"):
            await m.stack(running.queue, record.id)
        await m.cancel_job(running.queue, record.id)
        with pytest.raises(errors.NotRunning, match="is cancelled"):
            await m.stack(running.queue, record.id)
        with pytest.raises(m25.NoJobRecordFound, match="queue 'deep' has no job"):
            await m.stack("deep", uuid4())
        with pytest.raises(m25.NoJobRecordFound, match="queue 'other' has no job"):
            await m.stack("other", record.id)
        with pytest.raises(m25.NoJobRecordFound, match="no queue has a job"):
            await m.stack(None, uuid4())


async def test_a_worker_that_stands_still_does_not_answer_and_that_is_said(
    autojump_clock: trio.testing.MockClock,
) -> None:
    store, running = MemoryStore(), Running()
    async with testing.open(store) as m:
        record = await m.enqueue(running.queue, SECRET)
        # Somebody has claimed it, and does nothing more.
        await store.claim(
            "deep", token=str(uuid4()), limit=1, lease=running.queue.lease, start=True
        )
        with pytest.raises(errors.StackUnanswered, match="within 7 s: its process stands still"):
            await m.stack(running.queue, record.id, timeout=7)
        found = await store.find_stack(str(record.id))
    assert found is not None
    assert found.asked_at is None


async def test_the_command_prints_the_stack_of_a_job_in_another_client(
    dsn: str, capsys: pytest.CaptureFixture[str]
) -> None:
    running = Running()

    async def run(*arguments: str) -> tuple[int, str, str]:
        command = partial(main, ["stack", *arguments, "--addr", dsn])
        code = await trio.to_thread.run_sync(command)
        return code, *capsys.readouterr()

    async with m25.open(dsn) as m, job_of(m, running) as id:
        code, out, err = await run(str(id))
        assert (code, err) == (0, "")
        assert out.startswith(f"job {id} of queue 'deep'\ntask ")
        assert "\n        task branch\n" in out
        code, out, _ = await run(str(id), "--json")
        assert json.loads(out)["task"]["tasks"][0]["function"] == "leaf"
        unknown = str(uuid4())
        code, out, err = await run(unknown)
        assert (code, out) == (1, "")
        assert f"no queue has a job {unknown}" in err


def test_what_is_no_id_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["stack", "nonsense"])
    assert "nonsense" in capsys.readouterr().err
