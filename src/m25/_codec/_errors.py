"""Exceptions as values: what is raised in the worker comes back equal from the record.

An exception made with attrs, or a dataclass, is kept by its fields; any other by its `args`:

    {"type": "Declined", "fields": {"reason": "…"}}
    {"type": "NoFunds", "args": ["…", 3]}
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, cast

import attrs

from .._errors import InvalidQueue
from ._codec import Codec
from ._refusal import Refusal, key_part, reason_of, shown
from ._scalars import described
from ._text import untyped
from ._values import value_codec


@attrs.frozen
class _Kind:
    """How the instances of one class are kept, and made again."""

    key: str
    to_json: Callable[[Any], Any]
    decoder: Callable[[Any], Any]
    #: What two of them that are equal have in common.
    identity: Callable[[Any], Any]


def error_codec(
    errors: tuple[type[Exception], ...], where: str, names: Mapping[str, Any] | None = None
) -> Codec[Any]:
    """Make the codec of a queue's declared errors.

    `names` are those that the annotations of classes may use beside those of their modules.

    Raises:
        InvalidQueue: two of them have the same name, a field of one cannot be carried as JSON, or
            one is a group.
    """
    fast: dict[type, _Kind] = {}
    tracing: dict[type, _Kind] = {}
    for cls in errors:
        if any(cls.__name__ == other.__name__ for other in fast):
            raise InvalidQueue(f"{where}: two of the errors have the name {cls.__name__!r}")
        if issubclass(cls, BaseExceptionGroup):
            raise InvalidQueue(
                f"{where}: {cls.__name__} is an exception group; declare what is in it: a group of "
                "one declared error counts as that"
            )
        if attrs.has(cls) or dataclasses.is_dataclass(cls):
            codec = value_codec(cls, f"{where}: {cls.__name__}", names)
            to_json, decoder = codec.trace_to_json, codec.trace_decoder
            assert to_json is not None
            assert decoder is not None
            fast[cls] = _Kind("fields", codec.to_json, codec.decoder, codec.to_json)
            tracing[cls] = _Kind("fields", to_json, decoder, to_json)
        else:
            fast[cls] = tracing[cls] = _Kind("args", _args, _maker(cls), _state)
    return Codec(*_both_ways(fast), *_both_ways(tracing))


def _both_ways(
    kinds: Mapping[type, _Kind],
) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    by_name = {cls.__name__: kind for cls, kind in kinds.items()}

    def to_json(error: Any) -> Any:
        cls: type = error.__class__
        kind = kinds.get(cls)
        if kind is None:
            raise Refusal(
                f"{cls.__name__} is not declared itself, only a class that it derives from"
                if isinstance(error, tuple(kinds))
                else f"{cls.__name__} is not declared"
            )
        plain = kind.to_json(error)
        # The class of an exception may do with its arguments what it likes; the proof is to try.
        again = kind.decoder(plain)
        if again.__class__ is not cls or kind.identity(again) != kind.identity(error):
            raise Refusal(
                f"{cls.__name__} would not come back equal from its {kind.key}; make it an attrs "
                "class, or give the queue's error_to_json and error_decoder"
            )
        return {"type": cls.__name__, kind.key: plain}

    def decoder(plain: Any) -> Any:
        if not isinstance(plain, dict):
            raise Refusal(f"must be an object, not {described(plain)}")
        parts = cast("dict[str, Any]", plain)
        name = parts.get("type")
        kind = by_name.get(name) if isinstance(name, str) else None
        if kind is None:
            raise Refusal(f"{shown(name)} is none of the queue's declared errors", key_part("type"))
        if parts.keys() != {"type", kind.key}:
            raise Refusal(f"must have the keys 'type' and {kind.key!r}, and no others")
        return kind.decoder(parts[kind.key])

    return to_json, decoder


def _args(error: Exception) -> list[Any]:
    try:
        args: list[Any] = untyped(list(error.args))
    except Refusal as refusal:
        raise refusal.inside(".args") from refusal.__cause__
    return args


def _state(error: Exception) -> tuple[Any, ...]:
    """The arguments and attributes of an exception, as they are pickled."""
    reduced = error.__reduce__()
    assert isinstance(reduced, tuple)
    _, args, *state = reduced
    attributes = cast("dict[str, Any]", state[0] if state and isinstance(state[0], dict) else {})
    # What others note on an exception on its way is not its own.
    return args, {name: each for name, each in attributes.items() if not name.startswith("__")}


def _maker(cls: type[Exception]) -> Callable[[Any], Exception]:
    def make(args: Any) -> Exception:
        if args.__class__ is not list:
            raise Refusal(f"must be an array, not {described(args)}", ".args")
        try:
            return cls(*args)
        except Exception as error:
            raise Refusal(
                f"{cls.__name__} cannot be made of its args: {reason_of(error)}", ".args"
            ) from error

    return make
