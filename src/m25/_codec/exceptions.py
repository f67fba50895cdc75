"""Exceptions as values: what is raised in the worker comes back equal from the record.

An exception made with attrs, or a dataclass, is kept by its fields; any other by its `args`:

    {"type": "Declined", "fields": {"reason": "…"}}
    {"type": "NoFunds", "args": ["…", 3]}
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, cast

import attrs

from .._errors import InvalidQueue
from .codec import Codec
from .converter import value_codec
from .refusal import Refusal, described, key_part, reason_of, reraise
from .schema import error_schema
from .text import find_fault, untyped


@attrs.frozen
class _Kind:
    """How the instances of one class are kept, and made again."""

    key: str
    to_json: Callable[[Any], Any]
    decoder: Callable[[Any], Any]
    #: What two of them that are equal have in common.
    identity: Callable[[Any], Any]


def error_codec(
    errors: tuple[type[Exception], ...],
    where: str,
    names: Mapping[str, Any] | None = None,
    *,
    ignores_unknown: bool = False,
) -> Codec[Any]:
    """Make the codec of a queue's declared errors.

    `names` are those that the annotations of classes may use beside those of their modules. With
    `ignores_unknown`, fields that a class does not have are left out, and not refused.

    Raises:
        InvalidQueue: two of them have the same name, a field of one cannot be carried as JSON, or
            one is a group.
    """
    kinds: dict[type, _Kind] = {}
    for cls in errors:
        if any(cls.__name__ == other.__name__ for other in kinds):
            raise InvalidQueue(f"{where}: two of the errors have the name {cls.__name__!r}")
        if issubclass(cls, BaseExceptionGroup):
            raise InvalidQueue(
                f"{where}: {cls.__name__} is an exception group; declare what is in it: a group of "
                "one declared error counts as that"
            )
        if attrs.has(cls) or dataclasses.is_dataclass(cls):
            codec = value_codec(
                cls, f"{where}: {cls.__name__}", names, ignores_unknown=ignores_unknown
            )
            kinds[cls] = _Kind("fields", codec.to_json, codec.decoder, codec.to_json)
        else:
            kinds[cls] = _Kind("args", _args, _maker(cls), _state)
    make_schema = partial(error_schema, errors, names or {}, ignores_unknown=ignores_unknown)
    return Codec(_to_json(kinds), _decoder(kinds), _find_fault, make_schema=make_schema)


def _to_json(kinds: Mapping[type, _Kind]) -> Callable[[Any], Any]:
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

    return to_json


def _decoder(kinds: Mapping[type, _Kind]) -> Callable[[Any], Any]:
    by_name = {cls.__name__: kind for cls, kind in kinds.items()}

    def decoder(plain: Any) -> Any:
        if not isinstance(plain, dict):
            raise Refusal(f"must be an object, not {described(plain)}")
        parts = cast("dict[str, Any]", plain)
        name = parts.get("type")
        kind = by_name.get(name) if isinstance(name, str) else None
        if kind is None:
            raise Refusal("is none of the queue's declared errors", key_part("type"))
        if parts.keys() != {"type", kind.key}:
            raise Refusal(f"must have the keys 'type' and {kind.key!r}, and no others")
        return kind.decoder(parts[kind.key])

    return decoder


def _find_fault(plain: dict[str, Any], error: Any) -> None:
    if "fields" in plain:
        find_fault(plain["fields"], error)
    else:
        try:
            find_fault(plain["args"])
        except Refusal as refusal:
            reraise(refusal, ".args")


def _args(error: Exception) -> list[Any]:
    try:
        args: list[Any] = untyped(list(error.args))
    except Refusal as refusal:
        reraise(refusal, ".args")
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
