"""How a `FailedJob` is read: it tells of a job whatever its input is.

A job that was put by SQL may hold JSON that Python cannot read: an integer of thousands of digits,
or lists within lists by the thousand. It fails for that, and whoever is to be told of it must not
fail for the same.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

import attrs

from ._codec import Codec, Undecodable
from ._job import FailedJob

#: All of JSON text that says where a value ends.
_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[][{}:,]')


def input_codec(kind: Any, codec: Codec[Any]) -> Codec[Any]:
    """The codec of a queue's input, by the type of that: of all but `FailedJob` it is the same."""
    if kind is not FailedJob:
        return codec
    fields = attrs.fields(Codec)
    return _FailedJobCodec(**{field.name: getattr(codec, field.name) for field in fields})


@attrs.frozen
class _FailedJobCodec(Codec[FailedJob]):
    """Reads the job's input as its text where it cannot be read as what it is."""

    def decode(self, text: str | bytes) -> FailedJob:
        try:
            return super().decode(text)
        except Undecodable:
            # rule: who is told of a job can read of it, whatever its input
            text = with_input_as_text(text if isinstance(text, str) else text.decode())
            return super().decode(text)


def with_input_as_text(text: str) -> str:
    """JSON text of an object whose member `input` is a string: what stood there, as it was written.

    It needs no parser, whose limits are why the text could not be read.
    """
    depth, name = 0, ""
    began: int | None = None
    for token in _TOKEN.finditer(text):
        mark = token[0]
        if mark in "}]":
            depth -= 1
        # A comma of the object itself, or its end.
        if began is not None and (depth == 0 or (depth == 1 and mark == ",")):
            end = token.start()
            return text[:began] + json.dumps(text[began:end].strip()) + text[end:]
        if mark in "{[":
            depth += 1
        elif depth == 1 and began is None:
            if mark == ":" and name == '"input"':
                began = token.end()
            name = mark
    return text
