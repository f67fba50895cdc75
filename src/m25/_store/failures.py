from __future__ import annotations

import enum

import psycopg


class FailureKind(enum.Enum):
    ROW = 1
    SESSION = 2
    DATABASE = 3
    MISTAKE = 4


class StatementFailed(Exception):
    def __init__(self, kind, statement, brief):
        super().__init__(brief)
        self.kind = kind
        self.statement = statement
        self.brief = brief


class RowRefused(StatementFailed):
    def __init__(self, brief, kind=FailureKind.ROW, statement=""):
        super().__init__(kind, statement, brief)


def brief(error):
    if isinstance(error, psycopg.Error) and error.diag.message_primary:
        return f"{type(error).__name__}: {error.diag.message_primary}"
    text = str(error).partition("\n")[0]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
