"""An id of the caller's own: to repeat an enqueue is safe, and nothing else passes for a repeat."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
import trio

import m25
import m25.testing
from m25 import pg
from support.waiting import ended, rows


@m25.queue("letters")
async def letters(text: str) -> None:
    if text == "fails":
        raise ValueError


@m25.queue("parcels")
async def parcels(text: str) -> None:
    pass


@m25.queue("notes")
async def notes(note: dict[str, Any]) -> None:
    pass


def new_id() -> m25.JobId:
    return m25.JobId(uuid4())


async def count(dsn: str) -> int:
    (row,) = await rows(dsn, "select count(*) from m25.job")
    return row["count"]


async def test_of_several_that_enqueue_one_id_at_once_one_is_put_and_the_others_are_told(
    dsn: str,
) -> None:
    id = new_id()
    answers: dict[str, object] = {}

    async def enqueue(m: m25.M25, name: str, queue: m25.Queue[str, None, Any], text: str) -> None:
        try:
            answers[name] = (await m.enqueue(queue, m25.Job(text, id=id))).input
        except m25.errors.InvalidJob as error:
            answers[name] = type(error)

    async with m25.open(dsn) as m, trio.open_nursery() as nursery:
        nursery.start_soon(m.enqueue, letters, "keeps the client busy")
        await trio.testing.wait_all_tasks_blocked()
        for name, queue, text in (
            ("first", letters, "one"),
            ("other input", letters, "two"),
            ("other queue", parcels, "one"),
            ("again", letters, "one"),
        ):
            nursery.start_soon(enqueue, m, name, queue, text)
            await trio.testing.wait_all_tasks_blocked()
    conflict = m25.errors.JobIdConflict
    assert answers == {
        "first": "one",
        "other input": conflict,
        "other queue": conflict,
        "again": "one",
    }
    assert await count(dsn) == 2


async def test_one_id_twice_in_one_enqueue_many(dsn: str) -> None:
    id = new_id()
    async with m25.open(dsn) as m:
        same = [m25.Job("one", id=id), "between", m25.Job("one", id=id)]
        found = await m.enqueue_many(letters, same)
        assert found.ids[0] == found.ids[2] == id
        assert await count(dsn) == 2
        other = new_id()
        with pytest.raises(m25.errors.JobIdConflict) as caught:
            await m.enqueue_many(letters, [m25.Job("one", id=other), m25.Job("two", id=other)])
        assert caught.value.job_id == other
        assert any("at position 1," in note for note in caught.value.__notes__)
    assert await count(dsn) == 2


async def test_a_repeat_answers_with_the_job_as_it_is_by_now(dsn: str) -> None:
    job = m25.Job("fails", id=new_id(), unique_key="k", meta={"by": "me"})
    async with m25.open(dsn) as m:
        m.add_queue(letters)
        pending = await m.enqueue(letters, job)
        assert await m.enqueue(letters, job) == pending
        await m.start()
        failed = await ended(m, letters, pending.id)
        assert await m.enqueue(letters, job) == failed
        assert failed.status is m25.JobStatus.FAILED
    assert await count(dsn) == 1


async def test_another_input_is_an_error_that_says_so_and_prints_none(dsn: str) -> None:
    id = new_id()
    async with m25.open(dsn) as m:
        await m.enqueue(letters, m25.Job("the first secret", id=id))
        with pytest.raises(m25.errors.JobIdConflict) as caught:
            await m.enqueue(letters, m25.Job("the second secret", id=id, priority=2))
    error = caught.value
    assert error.job_id == id
    assert error.differs == ("input", "priority")
    assert isinstance(error, m25.EnqueueError)
    assert isinstance(error, m25.errors.InvalidJob)
    assert str(id) in str(error)
    assert "input, priority" in str(error)
    assert "secret" not in str(error)
    assert await rows(dsn, "select input from m25.job") == [{"input": "the first secret"}]


async def test_inputs_that_jsonb_calls_equal_are_the_same(dsn: str) -> None:
    id = new_id()
    async with m25.open(dsn) as m:
        await m.enqueue(notes, m25.Job({"a": 1, "b": [1.0]}, id=id))
        await m.enqueue(notes, m25.Job({"b": [1], "a": 1.0}, id=id))
        with pytest.raises(m25.errors.JobIdConflict):
            await m.enqueue(notes, m25.Job({"b": [True], "a": 1.0}, id=id))


async def test_a_default_timeout_that_a_deploy_has_changed_is_no_other_job(dsn: str) -> None:
    job = m25.Job("one", id=new_id())
    async with m25.open(dsn) as m:
        first = await m.enqueue(letters, job)
        changed = m25.queue("letters", default_job_timeout=77)(letters.handler_function)
        assert await m.enqueue(changed, job) == first
        with pytest.raises(m25.errors.JobIdConflict, match="timeout"):
            await m.enqueue(changed, job.with_timeout(timedelta(days=2)))


async def test_in_a_transaction_a_conflict_leaves_it_usable(dsn: str) -> None:
    id = new_id()
    async with m25.open(dsn) as m, await pg.AsyncConnection.connect(dsn) as connection:
        await m.enqueue(letters, m25.Job("one", id=id), connection=connection)
        with pytest.raises(m25.errors.JobIdConflict):
            await m.enqueue(letters, m25.Job("two", id=id), connection=connection)
        with pytest.raises(m25.errors.JobIdConflict):
            await m.enqueue_many(letters, [m25.Job("two", id=id)], connection=connection)
        await connection.commit()
    assert await count(dsn) == 1


async def test_without_a_database_it_is_the_same() -> None:
    id = new_id()
    async with m25.testing.open() as m:
        first = await m.enqueue(letters, m25.Job("one", id=id))
        assert await m.enqueue(letters, m25.Job("one", id=id)) == first
        with pytest.raises(m25.errors.JobIdConflict):
            await m.enqueue(letters, m25.Job("two", id=id))
        with pytest.raises(m25.errors.JobIdConflict):
            await m.enqueue(parcels, m25.Job("one", id=id))
