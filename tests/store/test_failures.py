"""Every error of every statement is sorted: this row, this session, the database for now, ours."""

from __future__ import annotations

import pickle
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing

import psycopg
import pytest
from _world import LEASE, PostgresWorld, WithVerbs, job, make_id, success, token
from psycopg import errors, pq

from m25 import pg
from m25._store.failures import FailureKind, RowRefused, StatementFailed, brief, sort_error
from m25._store.postgres import PostgresStore
from m25._store.protocol import NewJob

ROW, SESSION, DATABASE, MISTAKE = FailureKind

CONNECTION_LOST = psycopg.OperationalError("server closed the connection unexpectedly")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (errors.ReadOnlySqlTransaction(), SESSION),
        (errors.FeatureNotSupported("cached plan must not change result type"), SESSION),
        (errors.UndefinedTable(), SESSION),
        (errors.InvalidSqlStatementName(), SESSION),
        (errors.DuplicatePreparedStatement(), SESSION),
        (errors.InsufficientPrivilege(), SESSION),
        (errors.CharacterNotInRepertoire(), SESSION),
        (errors.InternalError_("cache lookup failed for relation 1"), SESSION),
        (errors.ProtocolViolation(), SESSION),
        (errors.InFailedSqlTransaction(), SESSION),
        (UnicodeEncodeError("latin-1", "→", 0, 1, "ordinal not in range"), SESSION),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), SESSION),
        (CONNECTION_LOST, DATABASE),
        (pg.PoolTimeout(), DATABASE),
        (pg.PoolClosed(), DATABASE),
        (errors._WaitTimeout(), DATABASE),
        (OSError("cut"), DATABASE),
        (TimeoutError(), DATABASE),
        (errors.AdminShutdown(), DATABASE),
        (errors.CannotConnectNow(), DATABASE),
        (errors.DiskFull(), DATABASE),
        (errors.TooManyConnections(), DATABASE),
        (errors.SerializationFailure(), DATABASE),
        (errors.DeadlockDetected(), DATABASE),
        (errors.LockNotAvailable(), DATABASE),
        (errors.QueryCanceled(), DATABASE),
        (errors.IoError(), DATABASE),
        (errors.InvalidColumnReference("42P10"), DATABASE),
        (errors.DataCorrupted(), DATABASE),
        (errors.lookup("3D000")(), DATABASE),
        (errors.SyntaxError(), MISTAKE),
        (errors.UndefinedColumn(), MISTAKE),
        (errors.UndefinedFunction(), MISTAKE),
        (errors.CardinalityViolation(), MISTAKE),
        (psycopg.ProgrammingError("the query has 1 placeholder but 0 parameters"), MISTAKE),
        (psycopg.InterfaceError("the cursor is closed"), MISTAKE),
        (ValueError("not enough values to unpack"), MISTAKE),
        (TypeError(), MISTAKE),
        (RecursionError(), MISTAKE),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
@pytest.mark.parametrize("statement", ["settle", "sweep"])
def test_an_error_is_of_its_kind_whatever_statement_it_comes_from(
    error: Exception, expected: FailureKind, statement: str
) -> None:
    failure = sort_error(statement, error)
    assert (failure.kind, failure.statement) == (expected, statement)
    assert failure.__cause__ is error
    assert not isinstance(failure, RowRefused)


@pytest.mark.parametrize(
    "error",
    [
        errors.InvalidTextRepresentation(),
        errors.UntranslatableCharacter(),
        errors.CheckViolation(),
        errors.ProgramLimitExceeded(),
        errors.StatementTooComplex(),
        errors.RaiseException(),
        errors.WithCheckOptionViolation(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_value_is_refused_only_to_a_statement_that_writes_values(error: psycopg.Error) -> None:
    for statement in ("enqueue", "enqueue_one", "enqueue_plain", "enqueue_all", "settle"):
        refused = sort_error(statement, error)
        assert isinstance(refused, RowRefused)
        assert refused.kind is ROW
    for statement in ("claim", "sweep", "heartbeat", "release", "get", "cancel", "notify"):
        assert sort_error(statement, error).kind is DATABASE


def test_what_the_driver_cannot_write_is_the_rows_fault_or_ours() -> None:
    surrogate = UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed")
    for error in (psycopg.DataError("NUL"), surrogate):
        assert sort_error("settle", error).kind is ROW
        assert sort_error("claim", error).kind is MISTAKE


@pytest.mark.parametrize(
    ("error", "spoilt"),
    [
        (errors.UndefinedColumn(), True),
        (errors.ReadOnlySqlTransaction(), True),
        (ValueError(), True),
        # What the driver alone says of a connection.
        (psycopg.OperationalError("another command is already in progress"), True),
        (errors.DeadlockDetected(), False),
        (errors.LockNotAvailable(), False),
        (errors.CheckViolation(), False),
        (psycopg.DataError(), False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_a_session_is_given_up_unless_the_server_said_that_it_is_not_about_it(
    error: Exception, spoilt: bool
) -> None:
    assert sort_error("settle", error).spoils_session is spoilt


def test_a_failure_says_in_a_line_what_failed_and_can_be_pickled() -> None:
    failure = sort_error("settle", errors.CheckViolation("no\nDETAIL: Failing row contains (…)."))
    assert str(failure) == failure.brief == brief(failure) == "CheckViolation: no"
    copy = pickle.loads(pickle.dumps(failure))
    assert type(copy) is RowRefused
    assert (copy.kind, copy.statement, copy.brief) == (ROW, "settle", "CheckViolation: no")


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("async.c", "too many notifications in the NOTIFY queue"),
        ("varsup.c", "database is not accepting commands that assign new transaction IDs"),
        ("multixact.c", "database is not accepting commands that assign new MultiXactIds"),
    ],
)
def test_a_limit_of_the_servers_is_no_rows_fault_though_its_code_is_the_same(
    file: str, says: str
) -> None:
    fields = dict.fromkeys(pq.DiagnosticField)
    fields[pq.DiagnosticField.SOURCE_FILE] = file.encode()
    error = errors.ProgramLimitExceeded(says, info=fields)
    assert error.diag.source_file == file
    for statement in ("enqueue", "settle"):
        assert sort_error(statement, error).kind is DATABASE


# On a server


async def test_a_limit_of_a_rows_is_the_rows_fault(database: PostgresWorld) -> None:
    key = "".join(make_id() for _ in range(400))
    with pytest.raises(RowRefused) as refused:
        await database.store.enqueue([job(unique_key=key)], [])
    assert isinstance(refused.value.__cause__, errors.ProgramLimitExceeded)


@pytest.mark.parametrize("code", ["22003", "23514", "54000", "P0001"])
async def test_a_trigger_that_refuses_a_sweep_is_not_taken_for_a_row(
    database: PostgresWorld, code: str
) -> None:
    await database.put(job())
    claim = await database.claim_one()
    await database.pass_time(LEASE.total_seconds() + 1)
    await database.execute(
        "create function public.refuse() returns trigger language plpgsql as $$ begin"  # type: ignore[arg-type]
        f" raise 'not today' using errcode = '{code}'; end $$;"
        "create trigger refuse before update on m25.job for each row"
        " execute function public.refuse()"
    )
    with pytest.raises(StatementFailed, match="not today") as failure:
        await database.sweep()
    assert failure.value.kind is DATABASE
    with pytest.raises(RowRefused, match="not today"):
        await database.settle(success(claim))


async def test_a_session_in_a_wrong_state_is_replaced_before_the_next_try(dsn: str) -> None:
    async with pg.Pool(dsn, max_size=1, kwargs={"autocommit": True}) as pool:
        store = PostgresStore(pool, "m25")
        await store.check_version()
        async with pool.connection() as connection:
            await connection.execute("set role pg_monitor")
        with pytest.raises(StatementFailed) as failure:
            await store.enqueue([job()], [])
        assert failure.value.kind is SESSION
        assert isinstance(failure.value.__cause__, errors.InsufficientPrivilege)
        await store.enqueue([job()], [])
        assert pool.stats().discarded == 1


async def test_a_column_that_was_changed_under_a_prepared_statement_fails_once(
    database: PostgresWorld,
) -> None:
    (id,) = await database.put(job())
    for _ in range(2):
        assert (await database.row(id)).priority == 0
    await database.execute("alter table m25.job alter column attempt type bigint")
    with pytest.raises(StatementFailed, match="cached plan") as failure:
        await database.row(id)
    assert failure.value.kind is SESSION
    assert (await database.row(id)).attempt == 1


async def test_a_connection_of_a_callers_is_never_closed(database: PostgresWorld) -> None:
    async with database.pool.connection() as connection:
        await connection.execute("set default_transaction_read_only = on")
        with pytest.raises(StatementFailed) as failure:
            await database.store.enqueue([job()], [], connection)
        assert failure.value.kind is SESSION
        assert not connection.closed
        await connection.execute("reset default_transaction_read_only")
        await database.store.enqueue([job()], [], connection)


async def test_what_callbacks_and_iterators_raise_passes_as_it_is(world: WithVerbs) -> None:
    def refuse(*_: object) -> None:
        raise psycopg.OperationalError("theirs")

    async def one_batch() -> AsyncGenerator[Sequence[NewJob]]:
        yield [job()]

    async def no_batch() -> AsyncGenerator[Sequence[NewJob]]:
        raise psycopg.OperationalError("theirs")
        yield []

    for batches in (one_batch(), no_batch()):
        # Else the garbage collector may find it, and complain in whatever test runs then.
        async with aclosing(batches):
            with pytest.raises(psycopg.OperationalError, match="theirs"):
                await world.store.enqueue_all(batches, [], refuse)
    await world.put(job())
    with pytest.raises(psycopg.OperationalError, match="theirs"):
        await world.store.claim(
            "q", token=token(), limit=1, lease=LEASE, start=True, on_rows=refuse
        )


async def test_a_pool_that_has_no_connection_is_the_databases_failure() -> None:
    async with pg.Pool("host=127.0.0.1 port=1 connect_timeout=1", timeout=0.1) as pool:
        store = PostgresStore(pool, "m25")
        for call in (store.check_version, lambda: store.get([]), lambda: store.notify([])):
            with pytest.raises(StatementFailed) as failure:
                await call()
            assert failure.value.kind is DATABASE
            assert isinstance(failure.value.__cause__, psycopg.OperationalError)


async def test_what_is_refused_at_the_commit_is_refused(database: PostgresWorld) -> None:
    await database.execute(
        "create function public.late() returns trigger language plpgsql as $$ begin"
        " raise 'too late' using errcode = '23514'; end $$;"
        "create constraint trigger late after insert on m25.job deferrable initially deferred"
        " for each row execute function public.late()"
    )

    async def batches() -> AsyncIterator[Sequence[NewJob]]:
        yield [job()]

    with pytest.raises(RowRefused, match="too late"):
        await database.store.enqueue_all(batches(), [], lambda *_: None)
    assert await database.count() == 0


def test_a_session_that_cannot_begin_is_not_its_users_failure() -> None:
    refused = errors.ReadOnlySqlTransaction("the server takes no writes any more")
    assert sort_error("begin", refused).is_outage
    assert not sort_error("settle", refused).is_outage


def test_a_pooler_that_has_lost_its_server_tells_of_an_outage() -> None:
    failure = sort_error("settle", errors.ProtocolViolation("server conn crashed?"))
    assert failure.is_outage
    assert failure.spoils_session
