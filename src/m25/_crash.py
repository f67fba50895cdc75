"""What is kept of an exception that nobody declared: its type, its message, and its traceback."""

from __future__ import annotations

import traceback
from typing import Final, NamedTuple, cast

from ._errors import RaisedInProcess
from ._groups import only_leaf

#: In characters. The beginning of a name or a message, and the end of a traceback, say most.
_LONGEST_NAME: Final = 1_000
_LONGEST_MESSAGE: Final = 10_000
_LONGEST_TRACEBACK: Final = 50_000
_LONGEST_LINE: Final = 200
#: How many of a group's exceptions its message names.
_MOST_IN_WORDS: Final = 3


class Crash(NamedTuple):
    """The crash columns of a row."""

    type: str
    message: str
    traceback: str | None


def describe_crash(error: BaseException, *, is_cause: bool = False) -> Crash:
    """Describe an exception, whatever it is: even one that cannot be printed.

    One that is the cause of another was caught in the handler, and did not come as far as here.
    """
    if isinstance(error, RaisedInProcess):
        return Crash(error.type_name, error.message, error.traceback)
    try:
        message = _message_of(error)
    except BaseException as failure:  # noqa: BLE001 - the exception's own `__str__` may do anything
        message = f"<str() of it raised {type(failure).__name__}>"
    try:
        # The first frame is in m25, and says nothing.
        below = error.__traceback__
        if below is not None and not is_cause:
            below = below.tb_next
        trace = "".join(traceback.format_exception(type(error), error, below))
    except BaseException as failure:  # noqa: BLE001 - its `__cause__` or its notes may, too
        trace = f"<the traceback could not be formatted: {type(failure).__name__}>"
    message, trace = _storable(message)[:_LONGEST_MESSAGE], _storable(trace)
    if len(trace) > _LONGEST_TRACEBACK:
        trace = f"[…]\n{trace[-_LONGEST_TRACEBACK:]}"
    return Crash(_storable(type_name(type(error))), message, trace)


def _message_of(error: BaseException) -> str:
    if not isinstance(error, BaseExceptionGroup):
        return str(error)
    # A group's own text says how many they are, and not what.
    leaves = cast("BaseExceptionGroup[BaseException]", error).exceptions
    some = [in_words(each) for each in leaves[:_MOST_IN_WORDS]]
    if len(leaves) > len(some):
        some.append("…")
    return f"{error}: {'; '.join(some)}"


def in_words(error: BaseException) -> str:
    """The type of an exception and its message's first line, for a line of text."""
    leaf = only_leaf(error) or error
    crash = describe_crash(leaf)
    lines = crash.message.splitlines()
    return f"{crash.type}: {lines[0][:_LONGEST_LINE]}" if lines else crash.type


def type_of(error: BaseException) -> str:
    """The name of an exception's class; of one from another process, that of what was raised."""
    return error.type_name if isinstance(error, RaisedInProcess) else type_name(type(error))


def type_name(cls: type) -> str:
    """The name of a class with its module; a builtin's without."""
    module = "" if cls.__module__ == "builtins" else f"{cls.__module__}."
    return f"{module}{cls.__qualname__}"[:_LONGEST_NAME]


def _storable(text: str) -> str:
    """The text with escapes for what PostgreSQL's text cannot hold: NUL, and lone surrogates."""
    return text.replace("\0", "\\x00").encode(errors="backslashreplace").decode()
