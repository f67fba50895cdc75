"""Known ids: whether a job is the same, and in what it differs, on both stores."""

from __future__ import annotations

from datetime import timedelta

import pytest
from _world import WithVerbs, job, make_id

from m25._store.protocol import Enqueued, Exists, Held


async def test_in_one_call_each_job_is_answered_as_after_those_before_it(
    world: WithVerbs,
) -> None:
    one, two = make_id(), make_id()
    jobs = [
        job(id=one, unique_key="a", input="1"),
        job("other", id=one, unique_key="b", input="2"),
        job(id=one, unique_key="a", input="1"),
        job(id=two, unique_key="a"),
        job(id=two, unique_key="c"),
        job(unique_key="c"),
        job(unique_key="b"),
    ]
    answers = await world.store.enqueue(jobs, [])
    row = await world.row(one)
    assert [answers[at] for at in (1, 2, 3, 5)] == [
        Exists(row, ("queue_name", "input", "unique_key")),
        Exists(row),
        Held(one),
        Held(two),
    ]
    assert [isinstance(answers[at], Enqueued) for at in (0, 4, 6)] == [True] * 3
    assert await world.count() == 3


@pytest.mark.parametrize(
    ("kept", "asked", "is_same"),
    [
        ('{"a": 1, "b": [2]}', '{"b":[2.0],"a":1e0}', True),
        ("[1]", "[true]", False),
        ("1", '"1"', False),
        ("null", "0", False),
        ('"\u00e9"', '"é"', True),
        ("[1, 2]", "[2, 1]", False),
        ('{"a": 1, "a": 2}', '{"a": 2}', True),
        ("1e300", "1" + "0" * 300, True),
    ],
)
async def test_inputs_are_compared_as_jsonb(
    world: WithVerbs, kept: str, asked: str, is_same: bool
) -> None:
    (id,) = await world.put(job(input=kept, meta=kept))
    (answer,) = await world.store.enqueue([job(id=id, input=asked, meta=asked)], [])
    assert answer == Exists(await world.row(id), () if is_same else ("input", "meta"))


async def test_every_option_is_compared(world: WithVerbs) -> None:
    now = await world.now()
    new = job(scheduled_at=now, unique_key="k", meta="{}", retry_delay=timedelta(days=1))
    await world.put(new)
    (answer,) = await world.store.enqueue([new._replace(retry_delay=timedelta(hours=24))], [])
    assert answer == Exists(await world.row(new.id))
    others = {
        "queue_name": "other",
        "scheduled_at": None,
        "input": "1",
        "timeout": timedelta(hours=1),
        "max_attempts": 2,
        "retry_delay": timedelta(0),
        "unique_key": None,
        "priority": 1,
        "meta": None,
    }
    for name, value in others.items():
        (answer,) = await world.store.enqueue([new._replace(**{name: value})], [])
        assert answer == Exists(await world.row(new.id), (name,))
