"""Ids of jobs, as programs have them: in SQL of their own, in URLs, in other jobs' inputs."""

from __future__ import annotations

import copy
import pickle
from uuid import UUID

import attrs
import psycopg
import pytest

import m25
import m25.testing
from m25 import JobId

TEXT = "0190d3a0-0000-7000-8000-000000000001"


@m25.queue("numbers")
async def numbers(number: int) -> int:
    return number


@attrs.frozen
class Follow:
    job: UUID
    exactly: JobId
    perhaps: UUID | None = None


@m25.queue("follows")
async def follows(follow: Follow) -> Follow:
    return follow


async def test_an_id_is_a_parameter_of_ones_own_sql(dsn: str) -> None:
    async with m25.open(dsn) as m:
        record = await m.enqueue(numbers, 1)
    statement = "select id, queue_name from m25.job where id = %s or id = any(%s)"
    parameters = (record.id, [record.id])
    async with await m25.pg.AsyncConnection.connect(dsn) as connection:
        rows = await (await connection.execute(statement, parameters)).fetchall()
        assert rows == [(record.id, "numbers")]
    with psycopg.connect(dsn) as plain:
        assert plain.execute(statement, parameters).fetchall() == [(record.id, "numbers")]


async def test_a_job_is_read_and_cancelled_by_any_form_of_its_id() -> None:
    async with m25.testing.open() as m:
        id = (await m.enqueue(numbers, 1)).id
        for form in (id, id.value, str(id), str(id).upper()):
            assert (await m.get_job(numbers, form)).id == id
        assert (await m.cancel_job(numbers, str(id))).status is m25.JobStatus.CANCELLED


async def test_what_is_no_id_is_refused_in_words() -> None:
    async with m25.testing.open() as m:
        record = await m.enqueue(numbers, 1)
        for call in (m.get_job, m.cancel_job):
            with pytest.raises(m25.errors.InvalidJob, match="a UUID or its text, not 'x'"):
                await call(numbers, "x")
            with pytest.raises(TypeError, match="or its text, not int"):
                await call(numbers, 3)
            with pytest.raises(TypeError, match=r"not JobRecord; .*`record\.id`"):
                await call(numbers, record)


def test_an_id_is_a_uuid_in_all_respects() -> None:
    id, plain = JobId(TEXT), UUID(TEXT)
    assert id == plain == JobId(plain) == JobId(id) == JobId.parse(TEXT) == id.value
    assert hash(id) == hash(plain)
    assert {plain: 1}[id] == 1
    assert str(id) == TEXT == f"{id}"
    assert repr(id) == f"JobId('{TEXT}')"
    assert type(id.value) is UUID
    assert JobId(UUID(int=1)) < id < UUID(int=2**127)
    assert sorted([id, UUID(int=1)]) == [UUID(int=1), id]
    for twin in (pickle.loads(pickle.dumps(id)), copy.copy(id), copy.deepcopy(id)):
        assert (type(twin), twin) == (JobId, id)
    with pytest.raises(TypeError):
        id.int = 3


@pytest.mark.parametrize("value", ["", "x", TEXT[:-1], 3, None, b"x" * 16])
def test_what_is_no_uuid_is_no_id(value: object) -> None:
    with pytest.raises(m25.errors.InvalidJob, match="a job id is a UUID or its text"):
        JobId(value)


async def test_an_id_is_part_of_another_jobs_input() -> None:
    id = JobId(TEXT)
    record = await m25.testing.run_job(follows, Follow(id, id, perhaps=id))
    assert record.output is not None
    assert record.output == Follow(UUID(TEXT), id, UUID(TEXT))
    assert type(record.output.exactly) is JobId
