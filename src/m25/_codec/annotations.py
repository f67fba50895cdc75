"""What a type annotation says: which kind of type it is, and what its parts are."""

from __future__ import annotations

import collections
import collections.abc
import dataclasses
import enum
import sys
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from types import NoneType
from typing import Any, Final, Literal, Union, cast, get_args, get_origin

import attrs

#: From what is annotated to the class of the values. A bare protocol has the class that comes back.
_SEQUENCES: Final[Mapping[Any, type]] = {
    list: list,
    collections.abc.Sequence: list,
    collections.abc.MutableSequence: list,
    collections.abc.Collection: list,
    collections.abc.Iterable: list,
    collections.deque: collections.deque,
    set: set,
    frozenset: frozenset,
}
_MAPPINGS: Final[Mapping[Any, type]] = {
    dict: dict,
    collections.abc.Mapping: dict,
    collections.abc.MutableMapping: dict,
    collections.Counter: collections.Counter,
}
_QUALIFIERS: Final = ("Final", "Required", "NotRequired", "ReadOnly")
_MISSING: Final = object()


class Unsupported(Exception):
    """Values of this type cannot be carried; the message says why."""


def is_form(kind: Any, *names: str) -> bool:
    """One of the special forms of these names.

    What `typing` of this Python does not have yet, `typing_extensions` has. That is no dependency:
    whoever annotates with it has it imported.
    """
    modules = typing, sys.modules.get("typing_extensions")
    return any(kind is getattr(module, name, _MISSING) for module in modules for name in names)


def qualifiers(kind: Any) -> Iterator[Any]:
    """What qualifies the type of a key in a TypedDict, from the outside in."""
    while (origin := get_origin(kind)) is typing.Annotated or is_form(origin, *_QUALIFIERS):
        yield origin
        kind = kind.__origin__ if origin is typing.Annotated else get_args(kind)[0]


def bare(kind: Any) -> Any:
    """The type itself, without what only qualifies or names it."""
    while True:
        origin = get_origin(kind)
        if kind is None:
            return NoneType
        if origin is typing.Annotated:
            kind = kind.__origin__
        elif is_form(origin, *_QUALIFIERS):
            kind = get_args(kind)[0]
        elif isinstance(kind, typing.NewType):
            kind = kind.__supertype__
        elif is_form(type(kind), "TypeAliasType"):
            kind = kind.__value__
        elif is_form(type(origin), "TypeAliasType"):
            kind = origin.__value__[get_args(kind)]
        else:
            return kind


def name_of(kind: Any) -> str:
    """A type, as a message names it."""
    if isinstance(kind, type) and not get_args(kind):
        return kind.__name__
    return str(kind).replace("typing.", "")


def is_class(kind: Any) -> bool:
    """An attrs class or a dataclass."""
    origin = get_origin(kind) or kind
    return isinstance(origin, type) and (attrs.has(origin) or dataclasses.is_dataclass(origin))


def is_typed_dict(kind: Any) -> bool:
    """A TypedDict."""
    # `typing.is_typeddict` does not know those of typing_extensions.
    origin = get_origin(kind) or kind
    if not isinstance(origin, type) or not issubclass(origin, dict):
        return False
    return hasattr(cast("Any", origin), "__required_keys__")


def is_named_tuple(kind: Any) -> bool:
    """A class made with NamedTuple."""
    origin = get_origin(kind) or kind
    if not isinstance(origin, type) or not issubclass(origin, tuple):
        return False
    return hasattr(cast("Any", origin), "_fields")


def is_enum(kind: Any) -> bool:
    """An Enum, but a Flag."""
    return (
        isinstance(kind, type) and issubclass(kind, enum.Enum) and not issubclass(kind, enum.Flag)
    )


def is_flag(kind: Any) -> bool:
    """A Flag, whose values are combined."""
    return isinstance(kind, type) and issubclass(kind, enum.Flag)


def is_literal(kind: Any) -> bool:
    """A Literal."""
    return get_origin(kind) is Literal


def is_sequence(kind: Any) -> bool:
    """What is an array of any length, but a tuple."""
    return (get_origin(kind) or kind) in _SEQUENCES


def is_tuple(kind: Any) -> bool:
    """A tuple, of any length or of one."""
    return (get_origin(kind) or kind) is tuple


def is_mapping(kind: Any) -> bool:
    """What is an object with any keys."""
    return (get_origin(kind) or kind) in _MAPPINGS


def is_path(kind: Any) -> bool:
    """A class of paths."""
    return isinstance(kind, type) and issubclass(kind, PurePath)


def is_never(kind: Any) -> bool:
    """The type of what does not return."""
    return kind in (typing.Never, typing.NoReturn)


def is_union(kind: Any) -> bool:
    """A union, and so an optional type."""
    return get_origin(kind) in (Union, types.UnionType)


def sequence(kind: Any) -> tuple[type, Any]:
    """The class of its values, and the type of their items."""
    return _SEQUENCES[get_origin(kind) or kind], (get_args(kind) or (Any,))[0]


def items(kind: Any) -> tuple[Any, ...]:
    """The types of a tuple's items; of one of any length, their type and an ellipsis."""
    # `tuple` has no arguments, and `tuple[()]` has none either.
    return (Any, ...) if kind in (tuple, typing.Tuple) else get_args(kind)  # noqa: UP006


def mapping(kind: Any) -> tuple[type, Any, Any]:
    """The class of its values, and the types of their keys and items."""
    made = _MAPPINGS[get_origin(kind) or kind]
    if made is collections.Counter:
        key, item = (*(get_args(kind) or (str,)), int)
    else:
        key, item = get_args(kind) or (str, Any)
    return made, str if key in (Any, object) else key, item


def class_name(cls: Any) -> str:
    """The name of a class, with which it is tagged."""
    name: str = (get_origin(cls) or cls).__name__
    return name
