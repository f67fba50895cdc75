"""Putting jobs on queues, reading them and cancelling them, on both stores."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from datetime import timedelta
from typing import Any

import pytest
import trio
from _world import LEASE, MemoryWorld, PostgresWorld, WithVerbs, failure, job, make_id, success

from m25 import pg
from m25._store.failures import RowRefused
from m25._store.protocol import Enqueued, Exists, Held, NewJob, Release, Written
from support.hearing import hearing
from support.waiting import PATIENCE, eventually


async def test_a_job_is_read_back_as_it_was_put(world: WithVerbs) -> None:
    now = await world.now()
    new = job(
        "letters",
        input='{"to": ["ada", 3, null]}',
        scheduled_at=now + timedelta(hours=1),
        timeout=timedelta(days=2, microseconds=1),
        max_attempts=7,
        retry_delay=timedelta(milliseconds=1500),
        unique_key="ключ",
        priority=-5,
        meta='{"by": "tests"}',
    )
    (answer,) = await world.store.enqueue([new], [])
    row = await world.row(new.id)
    assert answer == Enqueued(row.created_at)
    assert abs(float(row.created_at) - now.timestamp()) < 60
    assert row.scheduled_at is not None
    assert float(row.scheduled_at) == (now + timedelta(hours=1)).timestamp()
    assert (row.queue_name, row.unique_key, row.priority) == ("letters", "ключ", -5)
    assert json.loads(row.input) == {"to": ["ada", 3, None]}
    assert row.meta is not None
    assert json.loads(row.meta) == {"by": "tests"}
    assert (row.timeout, row.retry_delay) == ("172800.000001", "1.500000")
    assert (row.status, row.attempt, row.max_attempts, row.losses) == ("pending", 1, 7, 0)
    for nothing_yet in (
        row.reserved_at,
        row.started_at,
        row.cancelled_at,
        row.finished_at,
        row.output,
        row.deadline,
        row.latest_heartbeat_at,
        row.failure_reason,
        row.error_data,
        row.original_attempt_id,
        row.previous_attempt_id,
        row.crash_type,
        row.crash_message,
        row.crash_traceback,
    ):
        assert nothing_yet is None


async def test_answers_come_in_the_order_of_the_jobs(world: WithVerbs) -> None:
    (holder,) = await world.put(job(unique_key="k"))
    jobs = [job(unique_key="z"), job(unique_key="k"), job(), job(unique_key="a"), job(id=holder)]
    answers = await world.store.enqueue(jobs, [])
    assert [type(answer) for answer in answers] == [Enqueued, Held, Enqueued, Enqueued, Exists]


@pytest.mark.parametrize("others", ["all", "first", "second", "last", "none"])
async def test_of_jobs_put_together_each_has_what_it_was_given(
    world: WithVerbs, others: str
) -> None:
    now = await world.now()
    new = []
    for place in ("first", "second", "last"):
        if others in (place, "all"):
            new.append(
                job(
                    "letters",
                    input="7",
                    scheduled_at=now + timedelta(hours=1),
                    timeout=timedelta(seconds=3),
                    max_attempts=2,
                    retry_delay=timedelta(seconds=9),
                    priority=4,
                    meta='{"by": "tests"}',
                )
            )
        else:
            new.append(job())
    await world.store.enqueue(new, [])
    for given in new:
        row = await world.row(given.id)
        assert (row.queue_name, row.input, row.meta) == (given.queue_name, given.input, given.meta)
        assert float(row.timeout) == given.timeout.total_seconds()
        assert float(row.retry_delay) == given.retry_delay.total_seconds()
        assert (row.max_attempts, row.priority) == (given.max_attempts, given.priority)
        assert (row.scheduled_at is None) == (given.scheduled_at is None)
    repeated = await world.store.enqueue(new, [])
    assert repeated == [Exists(await world.row(given.id)) for given in new]
    changed = await world.store.enqueue([given._replace(priority=5) for given in new], [])
    assert [answer.differs for answer in changed if isinstance(answer, Exists)] == 3 * [
        ("priority",)
    ]


@pytest.mark.parametrize("nothing", [[], ()])
async def test_a_call_about_nothing_does_nothing(world: WithVerbs, nothing: Sequence[Any]) -> None:
    store = world.store
    assert await store.enqueue(nothing, nothing) == []
    assert await store.get(nothing) == {}
    assert await store.release_claims("q", nothing) == []
    assert await store.start(nothing, LEASE) == []
    assert await store.heartbeat(nothing, LEASE, LEASE) == Written(set(), set())
    assert await store.settle(nothing, 3) == {}
    assert await store.release(nothing, nothing) == Written(set(), set())
    assert await store.find_suspects(nothing, 100) == []
    assert await store.sweep(nothing, nothing) == []
    assert await store.survey(nothing) == {}
    assert await store.redate(nothing, 100) == []
    await store.notify(nothing)


@pytest.mark.parametrize("key", ["k", None])
async def test_an_enqueue_repeated_after_a_lost_answer_inserts_nothing(
    world: WithVerbs, key: str | None
) -> None:
    new = job(unique_key=key)
    await world.put(new)
    claim = await world.claim_one()
    (answer,) = await world.store.enqueue([new], [])
    assert answer == Exists(await world.row(new.id))
    await world.settle(success(claim))
    (answer,) = await world.store.enqueue([new], [])
    assert answer == Exists(await world.row(new.id))
    assert await world.count() == 1


async def test_a_key_that_is_held_is_refused_with_the_id_of_its_holder(world: WithVerbs) -> None:
    (holder,) = await world.put(job("a", unique_key="k"))
    answers = await world.store.enqueue([job("b", unique_key="k")], [])
    assert answers == [Held(holder)]
    assert await world.count() == 1


async def test_of_two_jobs_with_one_key_in_one_call_the_first_is_inserted(world: WithVerbs) -> None:
    first, second = job(unique_key="k"), job(unique_key="k")
    answers = await world.store.enqueue([second, first], [])
    assert isinstance(answers[0], Enqueued)
    assert answers[1] == Held(second.id)


async def put_all(world: WithVerbs, *batches: list[NewJob], fails_at: int | None = None) -> int:
    """Insert the batches as one; how many jobs were answered for."""
    answered = 0

    async def source() -> AsyncIterator[list[NewJob]]:
        for number, batch in enumerate(batches):
            if number == fails_at:
                raise LookupError("no more")
            yield batch

    def on_batch(batch: Sequence[NewJob], answers: Sequence[object]) -> None:
        nonlocal answered
        answered += len(list(zip(batch, answers, strict=True)))

    async with aclosing(source()) as batches_to_come:
        await world.store.enqueue_all(batches_to_come, ["q"], on_batch)
    return answered


async def test_many_batches_are_inserted_as_one(world: WithVerbs) -> None:
    assert await put_all(world) == 0
    (holder,) = await world.put(job(unique_key="k"))
    assert await put_all(world, [job(), job(unique_key="k")], [job(id=holder)], [job()]) == 4
    assert await world.count() == 3


async def test_of_many_batches_none_is_inserted_if_one_cannot_be(world: WithVerbs) -> None:
    (holder,) = await world.put(job(unique_key="k"))
    twice = job(unique_key="a")
    with pytest.raises(LookupError):
        await put_all(world, [twice], [twice, job(priority=-1)], [job()], fails_at=2)
    with pytest.raises(RowRefused):
        await put_all(world, [twice, job(id=holder)], [job(input='"\\u0000"')])
    assert await world.count() == 1
    # Nor is anything of them in the way.
    assert await put_all(world, [twice]) == 1
    assert len(await world.claim(limit=5)) == 2


@pytest.mark.parametrize("end", ["succeed", "fail", "cancel"])
async def test_a_key_is_free_again_once_its_job_failed_or_was_cancelled(
    world: WithVerbs, end: str
) -> None:
    (holder,) = await world.put(job(unique_key="k"))
    if end == "cancel":
        await world.store.cancel(holder, "q")
    else:
        claim = await world.claim_one()
        await world.settle(success(claim) if end == "succeed" else failure(claim))
    (answer,) = await world.store.enqueue([job(unique_key="k")], [])
    assert answer == Held(holder) if end == "succeed" else isinstance(answer, Enqueued)


async def test_a_key_stays_held_from_one_attempt_to_the_next(world: WithVerbs) -> None:
    await world.put(job(unique_key="k", max_attempts=2))
    second = make_id()
    await world.settle(failure(await world.claim_one(), next_attempt_id=second))
    assert await world.store.enqueue([job(unique_key="k")], []) == [Held(second)]
    await world.settle(failure(await world.claim_one()))
    (answer,) = await world.store.enqueue([job(unique_key="k")], [])
    assert isinstance(answer, Enqueued)


@pytest.mark.parametrize(
    "bad",
    ["", "{", "NaN", "Infinity", '"\\u0000"', '["\\\\\\u0000"]', '"\\ud800"', "1e200000", "[1,]"],
)
async def test_json_that_the_database_refuses_takes_its_whole_batch_with_it(
    world: WithVerbs, bad: str
) -> None:
    good = job()
    with pytest.raises(RowRefused):
        await world.store.enqueue([good, job(input=bad)], [])
    with pytest.raises(RowRefused):
        await world.store.enqueue([good, job(meta=bad)], [])
    assert await world.count() == 0


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ('{"b": 1, "a": 2, "b": 3}', '{"a": 2, "b": 3}'),
        ("1e3", "1000"),
        ("1.50E1", "15.0"),
        ("-2.5e-3", "-0.0025"),
        ("1e300", str(10**300)),
        ("1E-300", f"0.{'1':0>300}"),
        ('"1e3 \\" 1e3"', '"1e3 \\" 1e3"'),
        ('"\\\\u0000 \\u00e9"', '"\\\\u0000 é"'),
        ("7" * 5_000, "7" * 5_000),
        ("0.10", "0.10"),
    ],
)
async def test_json_is_given_back_in_the_words_of_the_database(
    world: WithVerbs, text: str, read: str
) -> None:
    (id,) = await world.put(job(input=text))

    def exactly(text: str) -> object:
        return json.loads(text, parse_int=str, parse_float=str)

    assert exactly((await world.row(id)).input) == exactly(read)


async def test_an_unknown_id_is_left_out(world: WithVerbs) -> None:
    (id,) = await world.put(job())
    assert list(await world.store.get([make_id(), id])) == [id]


async def test_a_pending_job_is_cancelled_once(world: WithVerbs) -> None:
    (id,) = await world.put(job())
    row = await world.store.cancel(id, "q")
    assert row is not None
    assert (row.id, row.status) == (id, "cancelled")
    assert row.cancelled_at is not None
    assert row == await world.row(id)
    assert await world.store.cancel(id, "q") is None
    assert row == await world.row(id)
    assert await world.claim() == []


async def test_a_job_is_only_cancelled_on_its_own_queue(world: WithVerbs) -> None:
    (id,) = await world.put(job("a"))
    assert await world.store.cancel(id, "b") is None
    assert await world.store.cancel(make_id(), "a") is None
    assert await world.status(id) == "pending"


# What workers are told


async def _next(told: AsyncIterator[str | None]) -> str | None:
    with trio.fail_after(PATIENCE):
        return await anext(told)


async def test_who_listens_is_first_told_to_look_everywhere(world: WithVerbs) -> None:
    async with hearing(world.store.listen, ["a"]) as told:
        assert await _next(told) is None


async def test_who_listens_is_told_of_new_jobs_on_its_queues(world: WithVerbs) -> None:
    long_name = "б" * 400
    async with hearing(world.store.listen, ["a", long_name]) as told:
        assert await _next(told) is None
        await world.store.enqueue([job("b")], ["b"])
        await world.store.enqueue([job("a")], ["a"])
        assert await _next(told) == "a"
        await world.store.enqueue([job(long_name)], [long_name])
        assert await _next(told) == long_name
        await world.store.notify(["b", "a"])
        assert await _next(told) == "a"


async def test_nobody_is_told_of_a_job_that_was_not_inserted(world: WithVerbs) -> None:
    new = job("a")
    await world.put(new)
    async with hearing(world.store.listen, ["a", "b"]) as told:
        assert await _next(told) is None
        await world.store.enqueue([new], ["a"])
        await world.store.notify(["b"])
        assert await _next(told) == "b"


async def test_who_listens_is_told_of_jobs_that_are_handed_back(world: WithVerbs) -> None:
    await world.put(job())
    claim = await world.claim_one()
    async with hearing(world.store.listen, ["q"]) as told:
        assert await _next(told) is None
        await world.store.release([Release(*claim)], ["q"])
        assert await _next(told) == "q"


# In the caller's own transaction


async def test_a_job_put_in_a_transaction_exists_once_that_commits(
    database: PostgresWorld, dsn: str
) -> None:
    new = job()
    async with (
        await pg.AsyncConnection.connect(dsn) as connection,
        hearing(database.store.listen, ["q", "other"]) as told,
    ):
        assert await _next(told) is None
        (answer,) = await database.store.enqueue([new], ["q"], connection)
        assert isinstance(answer, Enqueued)
        assert await database.count() == 0
        assert await database.claim() == []
        assert list(await database.store.get([new.id], connection)) == [new.id]
        await database.store.notify(["other"])
        assert await _next(told) == "other"
        await connection.commit()
        assert await _next(told) == "q"
    assert [claim.id for claim in await database.claim()] == [new.id]


async def test_a_job_put_in_a_transaction_is_gone_if_that_rolls_back(
    database: PostgresWorld, dsn: str
) -> None:
    async with await pg.AsyncConnection.connect(dsn) as connection:
        await database.store.enqueue([job(unique_key="k")], ["q"], connection)
        await connection.rollback()
    assert await database.count() == 0
    await database.put(job(unique_key="k"))


async def test_a_refused_key_leaves_the_transaction_usable(
    database: PostgresWorld, dsn: str
) -> None:
    (holder,) = await database.put(job(unique_key="k"))
    async with await pg.AsyncConnection.connect(dsn) as connection:
        await connection.execute("create table own (x int)")
        answers = await database.store.enqueue([job(unique_key="k")], ["q"], connection)
        assert answers == [Held(holder)]
        await connection.execute("insert into own values (1)")
        await connection.commit()
    assert await database.execute("select x from own") == [(1,)]


async def test_a_job_is_cancelled_with_the_transaction_that_cancels_it(
    database: PostgresWorld, dsn: str
) -> None:
    (id,) = await database.put(job())
    async with await pg.AsyncConnection.connect(dsn) as connection:
        row = await database.store.cancel(id, "q", connection)
        assert row is not None
        await connection.rollback()
        assert await database.status(id) == "pending"
        await database.store.cancel(id, "q", connection)
        await connection.commit()
    assert await database.status(id) == "cancelled"


@pytest.mark.parametrize("commits", [True, False])
async def test_a_key_that_is_being_inserted_is_waited_for(
    database: PostgresWorld, dsn: str, commits: bool
) -> None:
    first, second = job(unique_key="k"), job(unique_key="k")
    answers = []

    async def enqueue_second() -> None:
        answers.extend(await database.store.enqueue([second], []))

    async with await pg.AsyncConnection.connect(dsn) as connection:
        await database.store.enqueue([first], [], connection)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(enqueue_second)
            await eventually(database.waits_for_a_lock)
            assert answers == []
            await (connection.commit() if commits else connection.rollback())
    (answer,) = answers
    assert answer == Held(first.id) if commits else isinstance(answer, Enqueued)


async def test_batches_with_the_same_keys_in_opposite_orders_do_not_deadlock(
    database: PostgresWorld,
) -> None:
    keys = [f"key {number}" for number in range(50)]

    async def enqueue(order: list[str], turn: int) -> None:
        jobs = [job(unique_key=f"{key} {turn}") for key in order]
        answers = await database.store.enqueue(jobs, [])
        assert {type(answer) for answer in answers} <= {Enqueued, Held}

    for turn in range(10):
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(enqueue, keys, turn)
                nursery.start_soon(enqueue, keys[::-1], turn)
    assert await database.count() == 10 * len(keys)


async def test_a_store_in_memory_has_no_transactions_to_take_part_in() -> None:
    world = MemoryWorld()
    with pytest.raises(TypeError, match="connection must be None"):
        await world.store.enqueue([job()], [], object())
    with pytest.raises(TypeError):
        await world.store.get([make_id()], object())
    with pytest.raises(TypeError):
        await world.store.cancel(make_id(), "q", object())


async def test_numbers_are_given_back_as_postgresql_has_them(world: WithVerbs) -> None:
    """So a test without a database sees what production will: no negative zero, no exponent."""
    written = '[-0.0, -0, -0e3, 1e2, -0.5, "-0.0 and 1e2"]'
    (id,) = await world.put(job(input=written))
    given = json.loads((await world.row(id)).input, parse_float=str, parse_int=str)
    assert given == ["0.0", "0", "0", "100", "-0.5", "-0.0 and 1e2"]
