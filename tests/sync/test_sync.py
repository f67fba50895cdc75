"""Jobs of programs without Trio: a part of the transactions of psycopg, SQLAlchemy and Django."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import psycopg
import pytest
import trio

import m25
import m25.sync
from support.databases import url_of
from support.producers import LIBRARIES, Producer, producer
from support.waiting import PATIENCE


@attrs.frozen
class Email:
    to: str


class MailboxFull(Exception):
    pass


emails = m25.declare("emails", input=Email, output=str, errors=(MailboxFull,))
of_numbers = m25.declare("emails", input=int, output=str)


# Who is not notified finds nothing for a minute.
@m25.queue(emails, poll_interval=60.0)
async def send(email: Email) -> str:
    if email.to == "full":
        raise MailboxFull("full")
    return f"sent to {email.to}"


@pytest.fixture(params=LIBRARIES)
def user(request: pytest.FixtureRequest, dsn: str) -> Iterator[Producer]:
    with producer(request.param, dsn) as made:
        yield made


def jobs(dsn: str) -> list[tuple[str, str]]:
    """The recipients and the statuses of all jobs that are committed."""
    with psycopg.connect(dsn) as connection:
        return connection.execute(
            "select input ->> 'to', status from m25.job order by id"
        ).fetchall()


async def test_a_job_is_there_if_its_transaction_commits_and_is_run_at_once(
    dsn: str, user: Producer
) -> None:
    m25.sync.enqueue(user.connection, emails, Email("nobody"))
    user.rollback()
    assert jobs(dsn) == []
    async with m25.open(dsn) as m:
        m.add_queue(send)
        await m.start()
        record = m25.sync.enqueue(user.connection, emails, Email("ada"))
        assert jobs(dsn) == []
        user.commit()
        with trio.fail_after(PATIENCE):
            assert await m.result(emails, record.id) == "sent to ada"
        assert m25.sync.result(user.connection, emails, record.id) == "sent to ada"
        # As where another version of the program takes another input.
        assert m25.sync.result(user.connection, of_numbers, record.id) == "sent to ada"
        read = m25.sync.get(user.connection, emails, record.id)
    assert (read.input, read.output) == (Email("ada"), "sent to ada")


def test_what_the_user_writes_is_committed_with_the_job(dsn: str, user: Producer) -> None:
    user.execute("create table customer (name text)")
    user.execute("insert into customer values ('ada')")
    m25.sync.enqueue(user.connection, emails, Email("ada"))
    user.commit()
    with psycopg.connect(dsn) as connection:
        assert connection.execute("select name from customer").fetchall() == [("ada",)]
    assert jobs(dsn) == [("ada", "pending")]


def test_a_refused_job_leaves_the_transaction_usable(dsn: str, user: Producer) -> None:
    job = m25.Job(Email("ada"), unique_key="ada")
    first = m25.sync.enqueue(user.connection, emails, job)
    with pytest.raises(m25.UniqueKeyConflict) as refused:
        m25.sync.enqueue(user.connection, emails, job)
    assert refused.value.job_id == first.id
    with pytest.raises(m25.UniqueKeyConflict):
        m25.sync.enqueue_many(user.connection, emails, [Email("bob"), job])
    with pytest.raises(m25.ValueRefused, match="input"):
        m25.sync.enqueue(user.connection, emails, Email(3))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    other = m25.sync.enqueue(
        user.connection, emails, m25.Job(Email("eve"), unique=m25.Unique("eve", then="return"))
    )
    again = m25.sync.enqueue(
        user.connection, emails, m25.Job(Email("eve"), unique=m25.Unique("eve", then="return"))
    )
    assert (again.id, again.unique_outcome) == (other.id, "returned")
    user.commit()
    assert jobs(dsn) == [("ada", "pending"), ("eve", "pending")]


def test_many_are_enqueued_or_none(dsn: str, user: Producer) -> None:
    def some() -> Iterator[Email]:
        yield from (Email(str(number)) for number in range(300))
        raise LookupError

    with pytest.raises(LookupError):
        m25.sync.enqueue_many(user.connection, emails, some())
    many = m25.sync.enqueue_many(
        user.connection, emails, (Email(str(number)) for number in range(500))
    )
    user.commit()
    assert jobs(dsn) == [(str(number), "pending") for number in range(500)]
    assert len(set(many.ids)) == 500


def test_a_result_is_waited_for_outside_of_transactions_alone(dsn: str, user: Producer) -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    record = m25.sync.enqueue(user.connection, emails, m25.Job(Email("ada"), scheduled_at=later))
    with pytest.raises(m25.UsageError, match="a transaction is open"):
        m25.sync.result(user.connection, emails, record.id)
    user.commit()
    for _ in range(2):
        # The first leaves no transaction behind.
        with pytest.raises(TimeoutError, match="is pending"):
            m25.sync.result(user.connection, emails, record.id, timeout=0.05)
    with pytest.raises(m25.NoJobRecordFound):
        m25.sync.result(user.connection, emails, m25.JobId("0" * 32))


def test_a_cancel_is_a_part_of_the_transaction(dsn: str, user: Producer) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        record = m25.sync.enqueue(connection, emails, Email("ada"))
    m25.sync.cancel(user.connection, emails, record.id, by="ada", reason="no more mail")
    user.rollback()
    assert jobs(dsn) == [("ada", "pending")]
    cancelled = m25.sync.cancel(user.connection, emails, record.id, by="ada", reason="no more mail")
    assert cancelled.status is m25.JobStatus.CANCELLED
    assert (cancelled.cancelled_by, cancelled.cancel_reason) == ("ada", "no more mail")
    with pytest.raises(m25.InvalidState):
        m25.sync.cancel(user.connection, emails, record.id)
    with pytest.raises(m25.errors.JobCancelNotFound):
        m25.sync.cancel(user.connection, emails, m25.JobId("0" * 32))
    user.commit()
    with pytest.raises(m25.JobCancelled):
        m25.sync.result(user.connection, emails, record.id)


def test_an_error_of_the_database_is_m25s_own_whichever_library_it_came_by(user: Producer) -> None:
    with pytest.raises(m25.errors.EnqueueQueryError, match="nowhere") as raised:
        m25.sync.enqueue(user.connection, emails, Email("ada"), schema="nowhere")
    assert isinstance(raised.value.__cause__, psycopg.errors.UndefinedTable)
    user.rollback()


def test_an_error_before_the_first_statement_is_m25s_own_too(user: Producer) -> None:
    record = m25.sync.enqueue(user.connection, emails, Email("ada"))
    # Each of these begins with a savepoint, which is refused where the user's statement has failed.
    for call, kind in {
        lambda: m25.sync.enqueue_many(
            user.connection, emails, [Email("eve")]
        ): m25.errors.EnqueueQueryError,
        lambda: m25.sync.enqueue(
            user.connection, emails, m25.Job(Email("eve"), unique=m25.Unique("eve"))
        ): m25.errors.EnqueueQueryError,
        lambda: m25.sync.cancel(user.connection, emails, record.id): m25.errors.JobCancelQueryError,
    }.items():
        with pytest.raises(Exception, match="nonsense"):
            user.execute("nonsense")
        with pytest.raises(kind, match="InFailedSqlTransaction"):
            call()
        user.rollback()


def test_what_the_users_own_iterable_raises_is_the_users(dsn: str) -> None:
    def failing() -> Iterator[Email]:
        yield Email("ada")
        raise psycopg.OperationalError("the user's own")

    with psycopg.connect(dsn) as connection:
        with pytest.raises(psycopg.OperationalError, match="the user's own"):
            m25.sync.enqueue_many(connection, emails, failing())
    assert jobs(dsn) == []


def test_a_lost_connection_is_told_by_each_call(dsn: str) -> None:
    connection = psycopg.connect(dsn)
    connection.close()
    some_id = "01a20000-0000-7000-8000-000000000000"
    with pytest.raises(m25.errors.EnqueueQueryError, match="closed"):
        m25.sync.enqueue_many(connection, emails, [Email("ada")])
    with pytest.raises(m25.errors.JobRecordFetchQueryError, match="closed"):
        m25.sync.result(connection, emails, some_id)
    with pytest.raises(m25.errors.JobCancelQueryError, match="closed"):
        m25.sync.cancel(connection, emails, some_id)


def test_an_encoding_in_which_a_text_cannot_pass_is_named(dsn: str) -> None:
    with psycopg.connect(dsn, client_encoding="LATIN1") as connection:
        m25.sync.enqueue(connection, emails, Email("Zoë"))
        with pytest.raises(m25.errors.EnqueueQueryError, match="UnicodeEncodeError: 'latin-1'"):
            m25.sync.enqueue(connection, emails, Email("日本"))
    with psycopg.connect(dsn, client_encoding="SQL_ASCII") as connection:
        with pytest.raises(m25.UsageError, match="client_encoding=UTF8"):
            m25.sync.enqueue(connection, emails, Email("ada"))
    assert jobs(dsn) == [("Zoë", "pending")]


def test_a_connection_that_streams_its_results_is_one_to_enqueue_by(dsn: str) -> None:
    sqlalchemy = pytest.importorskip("sqlalchemy")
    engine = sqlalchemy.create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(dsn))
    with engine.connect().execution_options(yield_per=2) as connection:
        names = connection.execute(sqlalchemy.text("values ('ada'), ('bob'), ('eve')"))
        for (name,) in names:
            m25.sync.enqueue(connection, emails, m25.Job(Email(name), unique_key=name))
        with pytest.raises(m25.UniqueKeyConflict):
            again = m25.Job(Email("ada"), unique_key="ada")
            m25.sync.enqueue_many(connection, emails, [Email("dan"), again])
        m25.sync.enqueue_many(connection, emails, [Email("fay")])
        assert connection.get_execution_options()["yield_per"] == 2, "it streams as before"
        connection.commit()
    engine.dispose()
    assert [to for to, _ in jobs(dsn)] == ["ada", "bob", "eve", "fay"]


def test_a_connection_that_commits_each_statement_does_so_here(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        m25.sync.enqueue(connection, emails, Email("ada"))
        m25.sync.enqueue_many(connection, emails, [Email("bob"), Email("eve")])
    sqlalchemy = pytest.importorskip("sqlalchemy")
    engine = sqlalchemy.create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(dsn))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        m25.sync.enqueue_many(connection, emails, [m25.Job(Email("dan"), unique_key="dan")])
        with pytest.raises(m25.UniqueKeyConflict):
            again = m25.Job(Email("dan"), unique_key="dan")
            m25.sync.enqueue_many(connection, emails, [Email("fay"), again])
        m25.sync.enqueue_many(connection, emails, [Email("gil")])
    engine.dispose()
    assert [to for to, _ in jobs(dsn)] == ["ada", "bob", "eve", "dan", "gil"]


async def test_a_program_under_asyncio_waits_for_a_result_in_a_thread(dsn: str) -> None:
    def call() -> str:
        with psycopg.connect(dsn, autocommit=True) as connection:
            record = m25.sync.enqueue(connection, emails, Email("ada"))
            return m25.sync.result(connection, emails, record.id, timeout=PATIENCE)

    async def program() -> str:
        return await asyncio.to_thread(call)

    async with m25.open(dsn) as m:
        m.add_queue(send)
        await m.start()
        assert await trio.to_thread.run_sync(asyncio.run, program()) == "sent to ada"


def test_an_async_session_of_sqlalchemy_runs_the_calls(dsn: str) -> None:
    pytest.importorskip("greenlet")
    sqlalchemy = pytest.importorskip("sqlalchemy.ext.asyncio")

    def enqueue(session: Any) -> None:
        m25.sync.enqueue(session, emails, m25.Job(Email("ada"), unique_key="ada"))
        with pytest.raises(m25.UniqueKeyConflict):
            m25.sync.enqueue_many(
                session, emails, [Email("bob"), m25.Job(Email("eve"), unique_key="ada")]
            )
        m25.sync.enqueue_many(session, emails, [Email("dan")])

    async def program() -> None:
        url = url_of(dsn).replace("postgresql:", "postgresql+psycopg:", 1)
        engine = sqlalchemy.create_async_engine(url)
        async with sqlalchemy.AsyncSession(engine) as session:
            await session.run_sync(enqueue)
            await session.rollback()
            assert jobs(dsn) == []
            await session.run_sync(enqueue)
            await session.commit()
        committing = engine.execution_options(isolation_level="AUTOCOMMIT")
        async with sqlalchemy.AsyncSession(committing) as session:
            await session.run_sync(m25.sync.enqueue_many, emails, [Email("fay")])
        await engine.dispose()

    asyncio.run(program())
    assert [to for to, _ in jobs(dsn)] == ["ada", "dan", "fay"]


def test_other_connections_are_refused_by_name() -> None:
    with pytest.raises(TypeError, match=r"a psycopg\.Connection.*this is a builtins\.str"):
        m25.sync.enqueue("postgresql://", emails, Email("ada"))
    sqlalchemy = pytest.importorskip("sqlalchemy")
    with sqlalchemy.create_engine("sqlite://").connect() as connection:
        with pytest.raises(m25.UsageError, match=r"postgresql\+psycopg://"):
            m25.sync.enqueue(connection, emails, Email("ada"))


def test_a_producer_imports_no_trio_and_nothing_at_all_before_it_calls() -> None:
    program = """
import sys
import m25.sync
assert not {"trio", "cattrs", "attrs", "psycopg"} & set(sys.modules), "imported too early"
emails = m25.declare("emails", input=str, output=None)
m25.sync.enqueue, m25.Job, m25.errors
try:
    m25.sync.enqueue(None, emails, "ada")
except TypeError:
    pass
assert "psycopg" in sys.modules
try:
    import m25.django
except ImportError:
    pass
assert "trio" not in sys.modules, "a producer has no use for Trio"
"""
    subprocess.run([sys.executable, "-c", program], check=True)


# Declared queues


def test_a_handler_is_checked_by_what_is_declared() -> None:
    assert (send.name, send.errors, send.poll_interval) == (
        "emails",
        (MailboxFull,),
        timedelta(minutes=1),
    )
    declared = m25.declare("numbers", input=list[int], output=None, default_job_timeout=3.0)

    with pytest.raises(m25.errors.InvalidQueue, match=r"takes <class 'str'>.*declared with list"):

        @m25.queue(declared)  # type: ignore[arg-type]
        async def of_another_input(given: str) -> None: ...

    with pytest.raises(m25.errors.InvalidQueue, match=r"returns <class 'int'>.*test_sync\.py:\d+"):

        @m25.queue(declared)  # type: ignore[arg-type]
        async def of_another_output(given: list[int]) -> int:
            return 0

    with pytest.raises(m25.errors.InvalidQueue, match="default_job_timeout cannot be given here"):
        m25.queue(declared, default_job_timeout=3.0)

    @m25.queue(declared)
    async def add(given: list[int]) -> None: ...

    assert add.default_job_timeout == timedelta(seconds=3)


def test_a_declaration_says_what_is_wrong_with_it_and_where_it_stands() -> None:
    with pytest.raises(m25.errors.InvalidQueue, match=r"queue 'a'.*size_limit.*test_sync\.py:\d+"):
        m25.declare("a", input=str, output=None, size_limit=0)
    with pytest.raises(m25.errors.InvalidQueue, match=r"the input of the queue 'a'.*test_sync\.py"):
        m25.declare("a", input=type(lambda: None), output=None)


async def test_what_is_only_declared_is_not_run(dsn: str) -> None:
    async with m25.open(dsn) as m:
        with pytest.raises(TypeError, match="is declared here, and has no handler"):
            m.add_queue(emails)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        record = await m.enqueue(emails, Email("full"))
        m.add_queue(send)
        await m.start()
        with pytest.raises(MailboxFull), trio.fail_after(PATIENCE):
            await m.result(emails, record.id)
