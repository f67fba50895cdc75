"""Exceptions as values: what is raised in the worker comes back equal from the record.

An exception made with attrs, or a dataclass, is kept by its fields; any other by its `args`:

    {"type": "Declined", "fields": {"reason": "…"}}
    {"type": "NoFunds", "args": ["…", 3]}
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import attrs

from .._errors import InvalidQueue
from ._codec import Codec
from ._refusal import Refusal, reason_of, shown
from ._text import find_fault
from ._values import value_codec


@attrs.frozen
class _Kind:
    """How the instances of one class are kept, and made again."""

    key: str
    to_json: Callable[[Any], Any]
    decoder: Callable[[Any], Any]


def error_codec(errors: tuple[type[Exception], ...], where: str) -> Codec[Any]:
    """Make the codec of a queue's declared errors.

    Raises:
        InvalidQueue: two of them have the same name, or a field of one cannot be carried as JSON.
    """
    fast: dict[type[Exception], _Kind] = {}
    tracing: dict[type[Exception], _Kind] = {}
    for cls in errors:
        if any(cls.__name__ == other.__name__ and cls is not other for other in fast):
            raise InvalidQueue(f"{where}: two of the errors have the name {cls.__name__!r}")
        if attrs.has(cls) or dataclasses.is_dataclass(cls):
            codec = value_codec(cls, f"{where}: {cls.__name__}")
            fast[cls] = _Kind("fields", codec.to_json, codec.decoder)
            tracing[cls] = _Kind(
                "fields",
                codec.trace_to_json or codec.to_json,
                codec.trace_decoder or codec.decoder,
            )
        else:
            fast[cls] = tracing[cls] = _Kind("args", _args, _maker(cls))
    return Codec(*_both_ways(fast), *_both_ways(tracing))


def _both_ways(
    kinds: dict[type[Exception], _Kind],
) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    by_name = {cls.__name__: kind for cls, kind in kinds.items()}

    def to_json(error: Any) -> Any:
        kind = kinds.get(type(error))
        if kind is None:
            raise Refusal(
                f"{type(error).__name__} is not declared itself, only a class that it derives from"
            )
        plain = kind.to_json(error)
        # The class of an exception may do with its arguments what it likes; the proof is to try.
        again = kind.decoder(plain)
        if kind.to_json(again) != plain:
            raise Refusal(f"{type(error).__name__} does not come back equal from its {kind.key}")
        return {"type": type(error).__name__, kind.key: plain}

    def decoder(plain: Any) -> Any:
        if not isinstance(plain, dict):
            raise Refusal("must be an object")
        kind = by_name.get(plain.get("type"))
        if kind is None:
            raise Refusal(
                f"{shown(plain.get('type'))} is none of the queue's declared errors", '["type"]'
            )
        if set(plain) != {"type", kind.key}:
            raise Refusal(f"must have the keys 'type' and {kind.key!r}, and no others")
        try:
            return kind.decoder(plain[kind.key])
        except Refusal as refusal:
            raise refusal.inside(f".{kind.key}" if kind.key == "args" else "")  # noqa: B904

    return to_json, decoder


def _args(error: Exception) -> list[Any]:
    args = list(error.args)
    try:
        find_fault(args)
    except Refusal as refusal:
        raise refusal.inside(".args")  # noqa: B904 - it is the same one
    return args


def _maker(cls: type[Exception]) -> Callable[[Any], Exception]:
    def make(args: Any) -> Exception:
        if not isinstance(args, list):
            raise Refusal("must be an array")
        try:
            return cls(*args)
        except Exception as error:
            raise Refusal(f"cannot be made of its args: {reason_of(error)}") from error

    return make
