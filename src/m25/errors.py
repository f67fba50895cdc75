"""Every error that m25 raises on its own account.

Those that most programs catch are in `m25` as well. `M25Error` is the base of them all.
"""

from ._errors import (
    AlreadyStarted,
    ClientClosed,
    DatabaseError,
    DatabaseNotMigrated,
    DatabaseTooNew,
    DatabaseUnavailable,
    DuplicateQueue,
    EnqueueError,
    EnqueueQueryError,
    InvalidJob,
    InvalidQueue,
    InvalidState,
    JobCancelError,
    JobCancelFetchError,
    JobCancelQueryError,
    JobRecordDecodeError,
    JobRecordFetchDecodeErrors,
    JobRecordFetchError,
    JobRecordFetchInvalidFailureReason,
    JobRecordFetchInvalidStatusError,
    JobRecordFetchJsonDecodeError,
    JobRecordFetchQueryError,
    M25Error,
    MigrationError,
    NoJobRecordFound,
    NotInJob,
    QueueStartError,
    UniqueKeyConflict,
    UsageError,
    ValueRefused,
)

__all__ = [
    "AlreadyStarted",
    "ClientClosed",
    "DatabaseError",
    "DatabaseNotMigrated",
    "DatabaseTooNew",
    "DatabaseUnavailable",
    "DuplicateQueue",
    "EnqueueError",
    "EnqueueQueryError",
    "InvalidJob",
    "InvalidQueue",
    "InvalidState",
    "JobCancelError",
    "JobCancelFetchError",
    "JobCancelQueryError",
    "JobRecordDecodeError",
    "JobRecordFetchDecodeErrors",
    "JobRecordFetchError",
    "JobRecordFetchInvalidFailureReason",
    "JobRecordFetchInvalidStatusError",
    "JobRecordFetchJsonDecodeError",
    "JobRecordFetchQueryError",
    "M25Error",
    "MigrationError",
    "NoJobRecordFound",
    "NotInJob",
    "QueueStartError",
    "UniqueKeyConflict",
    "UsageError",
    "ValueRefused",
]

# Tracebacks, crash columns and pickles name them by where they are to be imported from.
for _name in __all__:
    globals()[_name].__module__ = __name__
