"""Hints of work: they wake the manager of their queue, and are never lost."""

from __future__ import annotations

import trio
import trio.testing

from m25._hints import Hints, QueueHint


def two_queues() -> tuple[Hints, QueueHint, QueueHint]:
    hints = Hints()
    letters = hints.queues["letters"] = QueueHint()
    invoices = hints.queues["invoices"] = QueueHint()
    letters.due = invoices.due = False
    return hints, letters, invoices


async def woken(hint: QueueHint) -> bool:
    """Whether the queue's manager would look now; it looks, if so."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hint.wakeup.wait)
        await trio.testing.wait_all_tasks_blocked()
        is_waiting = bool(nursery.child_tasks)
        nursery.cancel_scope.cancel()
    return not is_waiting


def test_a_queue_may_have_work_before_anybody_has_said_so() -> None:
    assert QueueHint().due


async def test_a_hint_is_for_its_queue_alone() -> None:
    hints, letters, invoices = two_queues()
    hints.work("letters")
    assert (letters.due, invoices.due) == (True, False)
    assert await woken(letters)
    assert not await woken(invoices)


async def test_a_hint_for_any_queue_is_for_all() -> None:
    hints, letters, invoices = two_queues()
    hints.work_anywhere()
    assert letters.due
    assert invoices.due
    assert await woken(letters)
    assert await woken(invoices)


def test_a_hint_for_a_queue_that_is_not_run_here_changes_nothing() -> None:
    hints, letters, invoices = two_queues()
    hints.work("of another client", rewind=True)
    assert not any((letters.due, letters.rewind, invoices.due, invoices.rewind))


def test_to_look_before_the_latest_claims_is_not_forgotten_for_a_later_hint() -> None:
    hints, letters, _ = two_queues()
    hints.work("letters")
    assert not letters.rewind
    hints.work("letters", rewind=True)
    hints.work("letters")
    hints.work_anywhere()
    assert letters.rewind


async def test_a_hint_while_the_manager_works_is_there_when_it_waits_and_only_once() -> None:
    hints, letters, _ = two_queues()
    hints.work("letters")
    hints.work("letters")
    assert await woken(letters)
    assert not await woken(letters)


async def test_a_manager_that_waits_is_woken_at_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    hints, letters, _ = two_queues()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(letters.wakeup.wait)
        await trio.testing.wait_all_tasks_blocked()
        hints.work("letters")
    assert trio.current_time() == 0
