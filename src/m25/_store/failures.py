"""The one place that sorts errors: what a statement raised, and whose affair that is.

Every error of every statement becomes a `StatementFailed` of one of four kinds, and each kind has
one consequence:

    ROW        the row cannot be stored: each row of the call is tried alone; nothing else suffers
    SESSION    this connection cannot be worked with: it is closed, and the next try has another
    DATABASE   it will pass, or an operator has to end it: tried again after a pause
    MISTAKE    nobody foresaw it: told in full, then treated as the database's

What the server says is sorted by its SQLSTATE, by the five characters first, then by the class,
which is the first two. The tables below have both, with the reason. What has no SQLSTATE did not
come from the server; it is sorted by its Python class.
"""

from __future__ import annotations

import enum
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Final, Self

import psycopg
from psycopg import errors

from .. import pg
from .._groups import only_leaf


class FailureKind(enum.Enum):
    """Whose affair it is that a statement failed."""

    #: A row holds what the database does not take.
    ROW = "row"
    #: The session is in a state in which the statement cannot work; another session's may be right.
    SESSION = "session"
    #: The database cannot do it now.
    DATABASE = "database"
    #: A mistake in m25, or in the driver, or one that nobody foresaw.
    MISTAKE = "mistake"


class StatementFailed(Exception):
    """A statement failed; the driver's or the server's error is the `__cause__`.

    The text says what failed in a line, without what PostgreSQL adds of the rows concerned: rows
    are private.
    """

    def __init__(self, kind: FailureKind, statement: str, brief: str) -> None:
        super().__init__(kind, statement, brief)
        self.kind = kind
        #: The name of its file in `sql/`, or that of the call of the store that it is a part of.
        self.statement = statement
        self.brief = brief

    def __str__(self) -> str:
        return self.brief

    @property
    def spoils_session(self) -> bool:
        """Whether the connection on which it happened is not to be used again.

        Where the server itself refused a row, or said that it cannot now, the session is as before.
        """
        if self.kind is FailureKind.DATABASE:
            # The driver's word alone: its view and the server's may differ from now on.
            return getattr(self.__cause__, "sqlstate", None) is None
        return self.kind is not FailureKind.ROW

    @property
    def waits_for_lock(self) -> bool:
        """Whether a lock was not to be had in the time that the statement was given for it."""
        return isinstance(self.__cause__, errors.LockNotAvailable)

    @property
    def is_denied(self) -> bool:
        """Whether the role lacks a right that the statement needs."""
        return isinstance(self.__cause__, errors.InsufficientPrivilege)

    @property
    def is_transactions(self) -> bool:
        """Whether the transaction met another one, and is to be repeated as a whole."""
        sqlstate = getattr(self.__cause__, "sqlstate", None) or ""
        return sqlstate[:2] == "40"

    @property
    def is_outage(self) -> bool:
        """Whether it is to be tried again, as it is: not where the transaction met another one."""
        return (
            (self.kind is FailureKind.DATABASE or self._is_poolers or self._has_begun_nothing)
            and not self.is_transactions
            and not self._is_limit_at_commit
        )

    @property
    def _is_poolers(self) -> bool:
        """Whether a pooler says so that has lost its server: the statement is not the reason."""
        cause = self.__cause__
        return getattr(cause, "sqlstate", None) == "08P01"  # rule: a pooler's loss is an outage

    @property
    def _has_begun_nothing(self) -> bool:
        """Whether a session could not begin a transaction, as that of a former primary: then
        nothing that was to be done in it is the reason, and another session can begin one.
        """
        # rule: a session that cannot begin is replaced
        return self.kind is FailureKind.SESSION and self.statement == "begin"

    @property
    def _is_limit_at_commit(self) -> bool:
        """Whether what a transaction has deferred took longer than a setting of its session allows,
        as it would again.
        """
        limits = (errors.QueryCanceled, errors.LockNotAvailable)
        return self.statement == "commit" and isinstance(self.__cause__, limits)

    @property
    def is_about_notifying(self) -> bool:
        """Whether the row could have been written, and its workers could not be notified."""
        cause = self.__cause__
        if not isinstance(cause, psycopg.Error):
            return False
        if self.waits_for_lock:
            # Those who notify take turns at their commits. What waits for a row or an index has a
            # context, which says so.
            return cause.diag.context is None
        return cause.diag.source_file == "async.c"

    @property
    def outcome_is_unknown(self) -> bool:
        """Whether it was sent, and nobody knows what became of it."""
        return isinstance(self.__cause__, pg.OutcomeUnknown)


class RowRefused(StatementFailed):
    """The database refuses a row for what it holds; to repeat the call would not help.

    Of several rows in one call any may be at fault, and none was written.
    """

    def __init__(self, kind: FailureKind, statement: str, brief: str) -> None:
        assert kind is FailureKind.ROW
        super().__init__(kind, statement, brief)


#: Statements, and calls, that write values which users gave. Where another statement is refused for
#: a value, no row of its caller's can be the reason.
_WRITES_VALUES: Final = frozenset(
    {
        "commit",
        "enqueue",
        "enqueue_one",
        "enqueue_plain",
        "enqueue_all",
        "keep_steps",
        "report",
        "send",
        "settle",
        "start_children",
        "succeed_and_claim",
        "succeed",
        "tick",
    }
)

_ROW: Final = FailureKind.ROW
_SESSION: Final = FailureKind.SESSION
_DATABASE: Final = FailureKind.DATABASE
_MISTAKE: Final = FailureKind.MISTAKE

#: By SQLSTATE. ROW is so only for statements that write values; for others it is the database's: a
#: trigger, a constraint or somebody else's row refuses what m25 does, until an operator mends it.
_BY_SQLSTATE: Final[Mapping[str, FailureKind]] = {
    # A proxy or pooler that lost track of the session, as PgBouncer says of nearly everything.
    "08P01": _SESSION,
    # "cached plan must not change result type": a column was changed under a prepared statement.
    # Of what else it stands for, features that are missing, the statements use none.
    "0A000": _SESSION,
    # A text that is no text in the session's encoding: what is sent always is one in the encoding
    # that the session had when it began.
    "22021": _SESSION,
    # Tables or schemas that are not there for this session: after a restore its plans are of those
    # that were.
    "42P01": _SESSION,
    "3F000": _SESSION,
    # A prepared statement that another session has, behind a pooler; or has twice.
    "26000": _SESSION,
    "42P05": _SESSION,
    # The role was changed by somebody's `set role`, or its rights will be granted in a moment.
    "42501": _SESSION,
    "0P000": _SESSION,
    # "cache lookup failed", "could not open relation": a session that remembers what is gone.
    "XX000": _SESSION,
    # The whole table refuses updates, as with `replica identity full` and a generated column.
    "42P10": _DATABASE,
}

#: By the class of the SQLSTATE.
_BY_CLASS: Final[Mapping[str, FailureKind]] = {
    "08": _DATABASE,  # the connection
    "09": _ROW,  # a trigger
    "22": _ROW,  # a value out of range, or that is no JSON, or of characters that are not had
    "23": _ROW,  # a constraint, or the partition or foreign key of a user's own
    "25": _SESSION,  # read-only (25006), or in a transaction that has failed
    "27": _ROW,  # a trigger changed the row under the statement
    "28": _DATABASE,  # a role or a password that is being changed
    "38": _ROW,  # a trigger, in a language of its own
    "39": _ROW,
    "3B": _SESSION,  # a savepoint that this session does not know
    "3D": _DATABASE,  # the database is being restored
    "40": _DATABASE,  # a deadlock, or a serialization failure
    "44": _ROW,  # the check option of a view
    "53": _DATABASE,  # no memory, disk, connection, or lock left
    "54": _ROW,  # a limit, such as what fits into an index; but see `_NO_ROWS_LIMITS`
    "55": _DATABASE,  # locked, or not in the state for it
    "57": _DATABASE,  # an operator, a timeout, a shutdown, a recovery
    "58": _DATABASE,  # a disk
    "72": _DATABASE,  # a snapshot too old
    "F0": _DATABASE,  # a file of the server's
    "P0": _ROW,  # `raise` in a trigger
    "XX": _DATABASE,  # damaged data or indexes
}

#: PostgreSQL has one code, 54000, for what is too long to store and for limits of the whole server.
#: Those are raised in these of its source files: transaction ids that must not wrap around, the
#: queue of notifications that is full, commands in one transaction.
_NO_ROWS_LIMITS: Final = frozenset({"async.c", "multixact.c", "varsup.c", "xact.c"})


#: Errors about a table, a publication or a setting, of whose details no row is a part.
_ABOUT_TABLES: Final = frozenset({"42P10", "55000", "55006"})


def sort_error(statement: str, error: Exception) -> StatementFailed:
    """What an error means that a statement raised: a failure that has the error as its cause."""
    kind = _kind(error, statement in _WRITES_VALUES)
    failure = (RowRefused if kind is _ROW else StatementFailed)(kind, statement, brief(error))
    failure.__cause__ = error
    return failure


def _kind(error: Exception, writes_values: bool) -> FailureKind:
    if isinstance(error, psycopg.Error) and error.sqlstate:
        kind = _of_sqlstate(error)
    else:
        kind = _of_class(error)
    if kind is _ROW and not writes_values:
        return _DATABASE if isinstance(error, psycopg.Error) and error.sqlstate else _MISTAKE
    return kind


def _of_sqlstate(error: psycopg.Error) -> FailureKind:
    sqlstate = error.sqlstate or ""
    kind = _BY_SQLSTATE.get(sqlstate) or _BY_CLASS.get(sqlstate[:2])
    if kind is _ROW and error.diag.source_file in _NO_ROWS_LIMITS:
        return _DATABASE
    if kind is None:
        # Not PostgreSQL's own. In doubt it is as the driver classes it.
        return _DATABASE if isinstance(error, psycopg.OperationalError) else _MISTAKE
    return kind


def _of_class(error: Exception) -> FailureKind:
    if isinstance(error, psycopg.DataError):
        # What psycopg cannot write: NUL in a text.
        return _ROW
    if isinstance(error, UnicodeError):
        # A character that the session's encoding does not have; UTF-8 lacks lone surrogates alone.
        encoding = error.encoding if isinstance(error, UnicodeEncodeError) else ""
        return _ROW if encoding.replace("-", "").lower() == "utf8" else _SESSION
    # The connection is lost, or none is to be had.
    if isinstance(error, (psycopg.OperationalError, OSError)):
        return _DATABASE
    return _MISTAKE


def brief(error: BaseException) -> str:
    """An error in a line, without what PostgreSQL adds of the rows concerned: they are private."""
    if isinstance(error, StatementFailed):
        return error.brief
    if isinstance(error, psycopg.Error) and error.diag.message_primary:
        return f"{type(error).__name__}: {error.diag.message_primary}{_advice(error)}"
    text = str(error).partition("\n")[0]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def is_ended_for_itself(error: BaseException) -> bool:
    """Whether the server has ended a session for what was done in it: it was idle in a transaction,
    or that was open, for longer than its settings allow.
    """
    sqlstate = getattr(only_leaf(error), "sqlstate", None) or ""
    return sqlstate[:2] == "25"


def without_rows(failure: StatementFailed) -> StatementFailed:
    """The same failure for a log: the server's error, which may print rows, is named in its text
    alone, and is no cause of it.
    """
    kind = StatementFailed if failure.kind is not FailureKind.ROW else RowRefused
    copy = kind(failure.kind, failure.statement, failure.brief)
    copy.__suppress_context__ = True
    return copy.with_traceback(failure.__traceback__)


def _advice(error: psycopg.Error) -> str:
    """What PostgreSQL adds of a table that cannot be worked with as it is, and what to do."""
    diag = error.diag
    # What a trigger says may be anything.
    if error.sqlstate not in _ABOUT_TABLES or diag.source_file == "pl_exec.c":
        return ""
    added = [text.rstrip(".") for text in (diag.message_detail, diag.message_hint) if text]
    return f" ({'; '.join(added)})" if added else ""


class Sorting:
    """A block whose errors are a statement's: they are raised as `StatementFailed`.

    A call of the store runs code of others as well, callbacks and iterators: in a block of
    `theirs()`, whose errors pass as they are.
    """

    __slots__ = ("_statement", "_theirs")

    def __init__(self, statement: str) -> None:
        self._statement = statement
        self._theirs: BaseException | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        if isinstance(exc_val, Exception) and not self._passes(exc_val):
            raise sort_error(self._statement, exc_val)

    @contextmanager
    def theirs(self) -> Generator[None]:
        """A block whose errors are not the statement's."""
        try:
            yield
        except BaseException as error:
            self._theirs = error
            raise

    def spoils_session(self, error: Exception) -> bool:
        """Whether the connection on which this was raised is not to be used again."""
        if isinstance(error, StatementFailed):
            return error.spoils_session
        return not self._passes(error) and sort_error(self._statement, error).spoils_session

    def _passes(self, error: Exception) -> bool:
        return error is self._theirs or isinstance(error, StatementFailed)
