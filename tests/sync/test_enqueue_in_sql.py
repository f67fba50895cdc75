"""`select m25.enqueue(…)`: jobs from SQL are those that `m25.sync` makes, whoever asks."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
import trio

import m25
import m25.sync
from support.sql_producers import DRIVERS, Refused, call, sql_producer
from support.waiting import PATIENCE, eventually, rows

later = datetime(2100, 1, 1, tzinfo=UTC)

emails = m25.declare(
    "emails",
    input=str,
    output=str,
    default_job_timeout=17.0,
    retry=m25.Retry(max_attempts=4, delay=m25.exponential(3.0)),
)


# Who is not notified finds nothing for a minute.
@m25.queue(emails, poll_interval=60.0)
async def send(to: str) -> str:
    return f"sent to {to}"


async def declare(dsn: str) -> None:
    """A worker of the queue has run, has written down what the queue says, and is gone."""
    async with m25.open(dsn) as m:
        m.add_queue(send)
        await m.start()
        await eventually(lambda: rows(dsn, "select name from m25.queue"))


def text_of(to: str) -> str:
    return f'"{to}"'


async def test_each_driver_enqueues_in_its_transaction_and_is_refused_alike(dsn: str) -> None:
    async with m25.open(dsn) as m:
        m.add_queue(send)
        await m.start()
        for driver in DRIVERS:
            with sql_producer(driver, dsn) as enqueue:
                gone = enqueue(text_of("nobody"), {"unique_key": driver}, False)
                assert gone is not None
                with pytest.raises(m25.NoJobRecordFound):
                    await m.get_job(send, gone)
                id = enqueue(text_of(driver), {"unique_key": driver}, True)
                assert id is not None
                with trio.fail_after(PATIENCE):
                    assert await m.result(send, id) == f"sent to {driver}"
                with pytest.raises(Refused) as held:
                    enqueue(text_of(driver), {"unique_key": driver}, True)
                assert held.value.args == ("23505", f"It is held by job {id}.")
                skipping = {"unique_key": driver, "skip_conflicts": True}
                assert enqueue(text_of(driver), skipping, True) is None
                with pytest.raises(Refused) as refused:
                    enqueue(text_of(driver), {"priority": 40_000}, True)
                assert refused.value.args == ("22023", None)
                with pytest.raises(Refused) as no_json:
                    enqueue("no JSON", {}, True)
                assert no_json.value.args[0] == "22P02"
                # What is JSON, and no input of the queue, is the worker's to refuse.
                wrong = enqueue("3", {"max_attempts": 1}, True)
                assert wrong is not None
                with (
                    pytest.raises(m25.errors.JobRecordFetchDecodeErrors),
                    trio.fail_after(PATIENCE),
                ):
                    await m.result(send, wrong)


OPTIONS: list[dict[str, Any]] = [
    {},
    {"max_attempts": 5},
    {"retry_delay": timedelta(seconds=7)},
    {"timeout": timedelta(hours=1), "priority": -3, "unique_key": "k"},
    {"scheduled_at": later, "expires_at": later, "meta": {"by": "a test"}},
]


async def test_a_job_from_sql_is_the_one_that_python_makes(dsn: str) -> None:
    await declare(dsn)
    with psycopg.connect(dsn, row_factory=psycopg.rows.dict_row) as connection:
        for options in OPTIONS:
            made = [
                m25.sync.enqueue(connection, emails, m25.Job("ada", **options)).id,
                enqueue(connection, '"ada"', {**options, "unique_key": None}),
            ]
            by_python, by_sql = (
                connection.execute("select * from m25.job where id = %s", [id]).fetchone()
                for id in made
            )
            assert {**by_sql, "id": 0, "unique_key": 0} == {**by_python, "id": 0, "unique_key": 0}
            assert by_python["unique_key"] == options.get("unique_key")


def enqueue(connection: psycopg.Connection[Any], job: str, options: Mapping[str, Any]) -> Any:
    given = {
        name: psycopg.types.json.Jsonb(value) if name == "meta" and value is not None else value
        for name, value in options.items()
    }
    (row,) = connection.execute(call(job, given)).fetchall()
    (id,) = row.values() if isinstance(row, dict) else row
    return id


REFUSED: list[dict[str, Any]] = [
    {"timeout": timedelta(0)},
    {"timeout": timedelta(days=36_526)},
    {"max_attempts": 0},
    {"retry_delay": timedelta(seconds=-1)},
    {"unique_key": ""},
    {"unique_key": "k" * 2_001},
    {"priority": 2**15},
    {"meta": [1]},
    {"expires_at": later - timedelta(days=1), "scheduled_at": later},
]


def test_an_option_that_python_refuses_is_refused_by_sql(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        for options in REFUSED:
            with pytest.raises(m25.errors.InvalidJob) as by_python:
                m25.Job("ada", **options)
            with pytest.raises(psycopg.errors.InvalidParameterValue) as by_sql:
                enqueue(connection, '"ada"', options)
            said = str(by_sql.value).removeprefix("m25.enqueue: ")
            assert said.split()[0] == str(by_python.value).split()[0], "both name the option"


async def test_a_null_is_an_option_that_is_not_given(dsn: str) -> None:
    await declare(dsn)
    given = "scheduled_at expires_at timeout max_attempts retry_delay unique_key priority meta id"
    nothing = dict.fromkeys([*given.split(), "skip_conflicts", "notify"])
    with psycopg.connect(dsn, autocommit=True, row_factory=psycopg.rows.dict_row) as connection:
        (channel,) = connection.execute("select channel from m25.queue").fetchall()
        connection.execute(f"listen {channel['channel']}")
        made = [enqueue(connection, '"ada"', options) for options in ({}, nothing)]
        assert len(list(connection.notifies(timeout=PATIENCE, stop_after=2))) == 2
        plain, with_nulls = (
            connection.execute(
                "select scheduled_at, expires_at, timeout, max_attempts, retry_delay, own_retry,"
                " unique_key, priority, meta from m25.job where id = %s",
                [id],
            ).fetchone()
            for id in made
        )
    assert with_nulls == plain


def test_a_call_with_an_id_can_be_repeated_and_another_job_of_that_id_is_refused(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        options = {"id": "01a20000-0000-7000-8000-000000000000", "unique_key": "k"}
        first = enqueue(connection, '"ada"', options)
        assert enqueue(connection, '"ada"', options) == first
        with pytest.raises(psycopg.errors.UniqueViolation, match="the id") as refused:
            enqueue(connection, '"eve"', options)
        assert refused.value.diag.constraint_name == "job_pkey"
        assert connection.execute("select count(*) from m25.job").fetchone() == (1,)


def test_jobs_of_one_statement_keep_their_order(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "select m25.enqueue('emails', to_jsonb(n)) from generate_series(1, 200) as n"
        )
        found = connection.execute("select input, id from m25.job order by id").fetchall()
    assert [number for number, _ in found] == list(range(1, 201))
    assert {id.version for _, id in found} == {7}


def test_a_job_from_sql_has_its_place_in_its_order_behind_those_that_python_has_put(
    dsn: str,
) -> None:
    steps = m25.declare("steps", input=dict[str, str | None], output=None, ordered_by="account")
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "insert into m25.queue (name, default_job_timeout, order_path)"
            " values ('steps', '1 min', '{account}')"
        )
        for account in ("ada", None, "é" * 300):
            m25.sync.enqueue(connection, steps, {"account": account})
            connection.execute(
                "select m25.enqueue('steps', jsonb_build_object('account', %s::text))", [account]
            )
        found = connection.execute(
            "select order_key from m25.job order by order_number nulls first"
        ).fetchall()
    assert found == [(key,) for key in ("ada", "", "é" * 200) for _ in range(2)]
