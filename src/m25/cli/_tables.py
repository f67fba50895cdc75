"""What commands print: a table for a person, or JSON for a program.

What is in the database may be anybody's text. A control character in it would be an order to the
terminal, so none is printed.
"""

from __future__ import annotations

import json
import shutil
import sys
import unicodedata
from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, Final, cast
from uuid import UUID

import attrs

#: Kinds of characters that are not printed: controls, and what turns the direction of the text.
_UNPRINTED: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_GAP: Final = "  "


def printable(text: str) -> str:
    """The text on one line; what is not to be printed is written as Python writes it."""
    if text.isprintable():
        return text
    return "".join(
        ascii(character)[1:-1] if unicodedata.category(character) in _UNPRINTED else character
        for character in text
    )


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Rows below their headings. Columns of numbers stand to the right. On a terminal, lines are
    cut at its edge.
    """
    cells = [columns, *([_cell(value) for value in row] for row in rows)]
    numbers = [all(isinstance(row[at], int) for row in rows) for at in range(len(columns))]
    widths = [max(_width(row[at]) for row in cells) for at in range(len(columns))]
    edge = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    lines = (_line(row, widths, numbers)[:edge] for row in cells)
    return "".join(f"{line}\n" for line in lines)


def as_json(value: object) -> str:
    """One JSON document of what commands have to tell: times are ISO 8601, durations seconds."""
    return f"{json.dumps(_plain(value), indent=2, ensure_ascii=False)}\n"


def read_json(text: str | None) -> Any:
    """JSON out of the database, as a part of a larger document; as text if it cannot be read."""
    if text is None:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def fields_of(value: object) -> dict[str, Any]:
    """The fields of an attrs object, by name."""
    names = [field.name for field in attrs.fields(cast("type[attrs.AttrsInstance]", type(value)))]
    return {name: getattr(value, name) for name in names}


def _cell(value: object) -> str:
    return "" if value is None else printable(str(value))


def _line(row: Sequence[str], widths: Sequence[int], numbers: Sequence[bool]) -> str:
    cells: list[str] = []
    for cell, width, is_number in zip(row, widths, numbers, strict=True):
        space = " " * (width - _width(cell))
        cells.append(space + cell if is_number else cell + space)
    return _GAP.join(cells).rstrip()


def _width(text: str) -> int:
    """How many columns a text takes: East Asian characters take two."""
    return len(text) + sum(unicodedata.east_asian_width(each) in "WF" for each in text)


def _plain(value: object) -> Any:
    match value:
        case datetime():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case Enum():
            return value.value
        case UUID():
            return str(value)
        case dict():
            pairs = cast("dict[object, object]", value).items()
            return {_plain(key): _plain(each) for key, each in pairs}
        case list() | tuple():
            return [_plain(each) for each in cast("Sequence[object]", value)]
        case _ if attrs.has(type(value)):
            return _plain(fields_of(value))
        case _:
            return value
