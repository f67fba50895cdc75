"""Statements of the store on a connection of another library's, as a part of its transaction.

Each library is asked by its own public calls, and not by way of the driver's connection beneath:
SQLAlchemy's `commit` sends nothing where it does not know that a transaction has begun, and the
`atomic` of Django rolls back by what it has seen fail. None of them is imported here: who has a
connection of one has imported it.
"""

from __future__ import annotations

import functools
import sys
from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, Final, TypeVar, cast

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from .._errors import UsageError
from .._store.failures import sort_error
from .._store.statements import load_statements
from .._store.steps import Rows, Steps

T = TypeVar("T")

_NO_TRANSACTION: Final = (TransactionStatus.IDLE, TransactionStatus.UNKNOWN)

#: With these options SQLAlchemy has a cursor declared for each statement, which can read alone.
_NOT_STREAMED: Final = {"stream_results": False, "yield_per": None}


@functools.lru_cache(16)
def _statements(schema: str) -> Mapping[str, str]:
    return {name: text.decode() for name, text in load_statements(schema).items()}


class Database(ABC):
    """A caller's connection, and the statements for one schema."""

    def __init__(self, schema: str) -> None:
        self._sql = _statements(schema)

    def run(self, steps: Steps[T]) -> T:
        """Run the steps of a call of the store.

        Raises:
            StatementFailed: a statement failed.
        """
        try:
            statement = next(steps)
            while True:
                with _sorted_errors(statement.name):
                    rows = self._execute(self._sql[statement.name], statement.parameters)
                statement = steps.send(rows)
        except StopIteration as done:
            return cast("T", done.value)

    @property
    @abstractmethod
    def has_transaction(self) -> bool:
        """Whether a transaction of the caller's is open."""

    @contextmanager
    def atomic(self) -> Generator[None]:
        """A block of which all is done, or nothing: a savepoint, or a transaction where statements
        are committed one by one.

        What the caller raises within it is the caller's own, also where psycopg has raised it.

        Raises:
            StatementFailed: the block could not be begun, or not ended.
        """
        with ExitStack() as stack:
            with _sorted_errors("begin"):
                stack.enter_context(self._block())
            yield
            with _sorted_errors("commit"):
                stack.close()

    @abstractmethod
    def _block(self) -> AbstractContextManager[object]:
        """The library's own block for `atomic`."""

    @abstractmethod
    def looking(self) -> AbstractContextManager[Database]:
        """A block for statements that read while no transaction is open; it leaves none behind."""

    @abstractmethod
    def _execute(self, sql: str, parameters: Mapping[str, Any]) -> Rows: ...


class _Psycopg(Database):
    def __init__(self, connection: psycopg.Connection[Any], schema: str) -> None:
        super().__init__(schema)
        self._connection = connection

    @property
    def has_transaction(self) -> bool:
        # That of a closed connection is unknown: the statement that follows says what is wrong.
        return self._connection.info.transaction_status not in _NO_TRANSACTION

    def _block(self) -> AbstractContextManager[object]:
        if not self._connection.autocommit and not self.has_transaction:
            # psycopg's block would be the transaction, and commit it. It is the caller's to end.
            self._connection.execute("select", prepare=False)
        return self._connection.transaction()

    @contextmanager
    def looking(self) -> Generator[Database]:
        try:
            yield self
        finally:
            if self.has_transaction and not self._connection.closed:
                self._connection.rollback()

    def _execute(self, sql: str, parameters: Mapping[str, Any]) -> Rows:
        _check_encoding(self._connection)
        # Whatever cursors and rows the caller's connection makes.
        cursor = psycopg.Cursor(self._connection, row_factory=tuple_row)
        # Behind a pooler it may be another session each time, in which what psycopg has prepared is
        # missing, or is a stranger's statement of that name.
        cursor.execute(sql.encode(), parameters, prepare=False)
        return cursor.fetchall()


class _Sqlalchemy(Database):
    """A `Connection`; that of a `Session` is got at each statement, as the session has it."""

    def __init__(self, connection: Any, schema: str, session: Any = None) -> None:
        super().__init__(schema)
        self._schema = schema
        self._given = connection
        self._session = session

    @property
    def _connection(self) -> Any:
        return self._given if self._session is None else self._session.connection()

    @property
    def has_transaction(self) -> bool:
        if self._session is None:
            return bool(self._given.in_transaction())
        # A session may be bound to a connection, and join the transaction of that.
        bound = getattr(self._session.get_bind(), "in_transaction", lambda: False)
        return bool(self._session.in_transaction() or bound())

    def _block(self) -> AbstractContextManager[object]:
        connection = self._connection
        if connection.connection.driver_connection.autocommit:
            return _transaction(connection)
        return _savepoint(connection)

    @contextmanager
    def looking(self) -> Generator[Database]:
        if self._session is None:
            try:
                yield self
            finally:
                self._given.rollback()
            return
        # A session forgets what it has loaded when its transaction ends: it is left in peace.
        bind = self._session.get_bind()
        if not hasattr(bind, "connect"):
            with _Sqlalchemy(bind, self._schema).looking() as database:
                yield database
            return
        with ExitStack() as stack:
            with _sorted_errors("connect"):
                connection = stack.enter_context(bind.connect())
            yield _Sqlalchemy(connection, self._schema)

    def _execute(self, sql: str, parameters: Mapping[str, Any]) -> Rows:
        connection = self._connection
        _check_encoding(connection.connection.driver_connection)
        result = connection.exec_driver_sql(sql, dict(parameters), execution_options=_NOT_STREAMED)
        return [tuple(row) for row in result]


@contextmanager
def _transaction(connection: Any) -> Generator[None]:
    """A transaction in SQLAlchemy's isolation level AUTOCOMMIT, which knows of none: it refuses a
    savepoint. The driver's own block would do, but for an `AsyncSession` that is asyncio's.
    """

    def execute(sql: str) -> None:
        connection.exec_driver_sql(sql, execution_options=_NOT_STREAMED)

    execute("begin")
    try:
        yield
    except BaseException:
        # A connection that was lost has nothing to roll back, and the first error says so.
        if not connection.invalidated:
            execute("rollback")
        raise
    execute("commit")


@contextmanager
def _savepoint(connection: Any) -> Generator[None]:
    """SQLAlchemy's savepoint, also on a connection that streams its results."""
    options = connection.get_execution_options()
    changed = {name: options[name] for name in _NOT_STREAMED if name in options}
    connection.execution_options(**dict.fromkeys(changed, None))
    try:
        with connection.begin_nested():
            yield
    finally:
        connection.execution_options(**changed)


class _Django(Database):
    def __init__(self, connection: Any, schema: str) -> None:
        super().__init__(schema)
        self._connection = connection

    @property
    def has_transaction(self) -> bool:
        # To ask is to connect.
        with _sorted_errors("connect"):
            return bool(self._connection.in_atomic_block or not self._connection.get_autocommit())

    def _block(self) -> AbstractContextManager[object]:
        transaction = sys.modules["django.db.transaction"]
        return cast(
            "AbstractContextManager[object]", transaction.atomic(using=self._connection.alias)
        )

    @contextmanager
    def looking(self) -> Generator[Database]:
        # Outside of a transaction each statement of Django's is committed.
        yield self

    def _execute(self, sql: str, parameters: Mapping[str, Any]) -> Rows:
        with self._connection.cursor() as cursor:
            cursor.execute(sql, dict(parameters))
            return list(cursor.fetchall())


def database_of(connection: object, schema: str) -> Database:
    """The statements for this schema on a caller's connection, whichever library's it is.

    Raises:
        TypeError: it is none that is known; the message says what it is.
        UsageError: it is one of SQLAlchemy or Django with another driver than psycopg.
    """
    given: Any = connection
    if isinstance(connection, psycopg.Connection):
        return _Psycopg(given, schema)
    if _is_a(given, "sqlalchemy.orm", "Session", "scoped_session"):
        _check_driver("SQLAlchemy", given.get_bind().dialect.driver == "psycopg")
        return _Sqlalchemy(None, schema, session=given)
    if _is_a(given, "sqlalchemy.engine", "Connection"):
        _check_driver("SQLAlchemy", given.dialect.driver == "psycopg")
        return _Sqlalchemy(given, schema)
    # What is imported from `django.db` is a proxy for the connection of this thread.
    if _is_a(given, "django.utils.connection", "ConnectionProxy"):
        given = sys.modules["django.db"].connections[given.alias]
    if _is_a(given, "django.db.backends.base.base", "BaseDatabaseWrapper"):
        is_psycopg = given.vendor == "postgresql" and given.Database.__name__ == "psycopg"
        _check_driver("Django", is_psycopg)
        return _Django(given, schema)
    kind = f"{type(connection).__module__}.{type(connection).__qualname__}"
    raise TypeError(
        "m25.sync needs a psycopg.Connection, a Connection or Session of SQLAlchemy, or Django's"
        f" connection, and this is a {kind}; under Trio enqueue by `m25.open(…)`"
    )


def _is_a(value: object, module: str, *names: str) -> bool:
    there = sys.modules.get(module)
    return there is not None and isinstance(value, tuple(getattr(there, name) for name in names))


def _check_driver(library: str, is_psycopg: bool) -> None:
    if not is_psycopg:
        raise UsageError(
            f"m25.sync needs connections of psycopg 3 beneath those of {library}: "
            "`postgresql+psycopg://…` is the URL of SQLAlchemy's, and Django takes psycopg 3 where"
            " it is installed"
        )


def _check_encoding(connection: Any) -> None:
    if connection.info.parameter_status("client_encoding") == "SQL_ASCII":
        raise UsageError(
            "the connection has the client_encoding SQL_ASCII, with which psycopg reads texts as"
            " bytes: connect with client_encoding=UTF8"
        )


@contextmanager
def _sorted_errors(statement: str) -> Generator[None]:
    """A block in which the libraries are called.

    Raises:
        StatementFailed: the database failed, or the driver.
    """
    try:
        yield
    except Exception as error:
        if (cause := _driver_error(error)) is None:
            raise
        raise sort_error(statement, cause) from cause


def _driver_error(error: Exception) -> psycopg.Error | UnicodeEncodeError | None:
    """What psycopg has raised, by itself or within an error of the other library's."""
    for each in (error, getattr(error, "orig", None), error.__cause__):
        # The second is of a character that the encoding of the connection does not have.
        if isinstance(each, (psycopg.Error, UnicodeEncodeError)):
            return each
    return None
