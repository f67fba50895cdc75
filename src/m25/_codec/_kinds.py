"""What a type annotation says: which kind of type it is, and what its parts are."""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import inspect
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePath
from types import NoneType
from typing import Any, Final, Literal, Union, cast, get_args, get_origin

import attrs

from ._refusal import shown
from ._scalars import SCALARS

#: The key that tells the classes of a union apart.
TAG: Final = "_type"

#: From what is annotated to the class of the values. A bare protocol has the class that comes back.
_SEQUENCES: Final[Mapping[Any, type]] = {
    list: list,
    collections.abc.Sequence: list,
    collections.abc.MutableSequence: list,
    set: set,
    frozenset: frozenset,
}
_MAPPINGS: Final = (dict, collections.abc.Mapping, collections.abc.MutableMapping)
_QUALIFIERS: Final = [
    getattr(typing, name)
    for name in ("Final", "Required", "NotRequired", "ReadOnly")
    if hasattr(typing, name)
]
_ALIAS: Final[Any] = getattr(typing, "TypeAliasType", ())


class Unsupported(Exception):
    """Values of this type cannot be carried; the message says why."""


@attrs.frozen
class Field:
    """A field of a class, as cattrs reads it."""

    name: str
    type: Any
    #: Its name as an argument of the class.
    alias: str
    #: `NOTHING` where it must be given; what it is otherwise does not matter.
    default: Any
    kw_only: bool
    init: bool = True
    converter: None = None


def bare(kind: Any) -> Any:
    """The type itself, without what only qualifies or names it."""
    while True:
        origin = get_origin(kind)
        if kind is None:
            return NoneType
        if origin is typing.Annotated:
            kind = kind.__origin__
        elif origin in _QUALIFIERS:
            kind = get_args(kind)[0]
        elif isinstance(kind, typing.NewType):
            kind = kind.__supertype__
        elif isinstance(kind, _ALIAS):
            kind = kind.__value__
        elif isinstance(origin, _ALIAS):
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
    return typing.is_typeddict(get_origin(kind) or kind)


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


def mapping(kind: Any) -> tuple[Any, Any]:
    """The types of keys and values."""
    key, item = get_args(kind) or (str, Any)
    return str if key is Any else key, item


def class_name(cls: Any) -> str:
    """The name of a class, with which it is tagged."""
    name: str = (get_origin(cls) or cls).__name__
    return name


# Classes


def fields_of(cls: Any, names: Mapping[str, Any]) -> list[Field]:
    """The fields of an attrs class or a dataclass that are carried: the arguments of its making.

    `names` are those that its annotations may use beside those of its module.

    Raises:
        Unsupported: it has a field of no type, or is not made by its fields.
    """
    origin: Any = get_origin(cls) or cls
    hints = hints_of(cls, names)
    fields: list[Field] = []
    of_attrs = attrs.has(origin)
    given: Any = attrs.fields(origin) if of_attrs else dataclasses.fields(origin)
    missing = attrs.NOTHING
    for each in given:
        if not each.init:
            continue
        kind = hints.get(each.name, each.type)
        if kind is None and each.name not in hints:
            raise Unsupported(f"{name_of(cls)}.{each.name} has no annotation")
        if not of_attrs:
            empty = (
                each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING
            )
            field = Field(each.name, kind, each.name, missing if empty else None, each.kw_only)
        else:
            default = missing if each.default is missing else None
            field = Field(each.name, kind, each.alias, default, each.kw_only)
        fields.append(field)
    return _as_taken(origin, fields)


def _as_taken(cls: type, fields: list[Field]) -> list[Field]:
    """The fields, by name or by place as the class takes them as arguments."""
    parameters = inspect.signature(cls).parameters.values()
    aliases = {field.alias for field in fields}
    if any(each.kind is each.VAR_KEYWORD for each in parameters):
        taken = aliases
    else:
        by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        taken = {each.name for each in parameters if each.kind in by_name}
    required = {
        each.name
        for each in parameters
        if each.default is each.empty and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
    }
    if not aliases <= taken or not required <= aliases:
        raise Unsupported(
            f"{name_of(cls)} cannot be made of its fields ({', '.join(sorted(aliases))}): it takes "
            f"({', '.join(each.name for each in parameters)})"
        )
    in_order = [each.name for each in parameters if each.kind is each.POSITIONAL_OR_KEYWORD]
    by_place = [
        field.alias for field in fields if field.default is attrs.NOTHING and not field.kw_only
    ]
    if in_order[: len(by_place)] == by_place:
        return fields
    return [attrs.evolve(field, kw_only=True) for field in fields]


def runs_code(cls: Any) -> bool:
    """Whether a class, when it is made, runs code of its author's, which may change its fields."""
    origin = get_origin(cls) or cls
    if any(hasattr(origin, f"__{hook}__") for hook in ("attrs_post_init", "post_init")):
        return True
    if attrs.has(origin):
        fields: Iterable[Any] = attrs.fields(origin)
        return hasattr(origin, "__attrs_init__") or any(each.converter for each in fields)
    parameters = getattr(origin, "__dataclass_params__", None)
    return not getattr(parameters, "init", True)


def hints_of(kind: Any, names: Mapping[str, Any]) -> dict[str, Any]:
    """The annotations of a class and of its bases, with the values of their type variables."""
    origin = get_origin(kind) or kind
    variables = getattr(origin, "__parameters__", ())
    values = dict(zip(variables, get_args(kind), strict=False))
    hints: dict[str, Any] = {}
    bases = origin.__dict__.get("__orig_bases__", origin.__bases__)
    for base in reversed(bases):
        # NamedTuple and TypedDict are functions.
        made_of = get_origin(base) or base
        if isinstance(made_of, type) and made_of not in (typing.Generic, typing.Protocol):
            hints |= hints_of(_with_values(base, values), names)
    if own := inspect.get_annotations(origin):
        try:
            known = typing.get_type_hints(origin, include_extras=True)
        except NameError:
            # A class made inside a function: what its annotations name may be there, too.
            around = {**vars(sys.modules[origin.__module__]), **names, origin.__name__: origin}
            known = typing.get_type_hints(origin, localns=around, include_extras=True)
        hints |= {name: _with_values(known[name], values) for name in own}
    return hints


def _with_values(kind: Any, values: Mapping[Any, Any]) -> Any:
    if isinstance(kind, typing.TypeVar):
        return values.get(kind, kind)
    variables = getattr(kind, "__parameters__", ())
    if not variables or isinstance(kind, type) or not values:
        return kind
    return kind[tuple(values.get(each, each) for each in variables)]


def keys_of(kind: Any, names: Mapping[str, Any]) -> tuple[dict[str, Any], frozenset[str]]:
    """The keys of a TypedDict with their types, and which of them it must have."""
    origin = get_origin(kind) or kind
    hints = hints_of(kind, names)
    required: set[str] = set(origin.__required_keys__)
    # Where annotations are strings, the class has not seen these.
    required |= {key for key, hint in hints.items() if get_origin(hint) is typing.Required}
    required -= {key for key, hint in hints.items() if get_origin(hint) is typing.NotRequired}
    return hints, frozenset(required)


# Choices


def choices(kind: Any) -> dict[tuple[type, Any], Any]:
    """From each choice's JSON form, with its type since 1 == True, to the choice.

    Raises:
        Unsupported: one has no such form, or two have the same.
    """
    table: dict[tuple[type, Any], Any] = {}
    for choice in get_args(kind) if is_literal(kind) else kind:
        plain = choice.value if isinstance(choice, enum.Enum) else choice
        if type(plain) not in (str, int, bool, NoneType):
            raise Unsupported(
                f"{name_of(kind)} cannot be carried as JSON: {shown(plain)} is not a string, a "
                "whole number, a truth value or None"
            )
        if (type(plain), plain) in table:
            raise Unsupported(f"two members of {name_of(kind)} are {shown(plain)} in JSON")
        table[type(plain), plain] = choice
    return table


# Unions


def members(kind: Any) -> list[Any]:
    """The members of a union, with those of its unions; its literals are one."""
    found: list[Any] = []
    literals: list[Any] = []
    for each in get_args(kind):
        member = bare(each)
        for inner in members(member) if is_union(member) else [member]:
            if is_literal(inner):
                literals += get_args(inner)
            elif inner not in found:
                found.append(inner)
    if literals:
        found.append(Literal[tuple(literals)])
    return found


def instance_types(kind: Any) -> list[type]:
    """The classes of the values of a union's member."""
    if is_literal(kind):
        return [type(each) for each in get_args(kind)]
    if is_sequence(kind):
        return [sequence(kind)[0]]
    if is_mapping(kind) or is_typed_dict(kind):
        return [dict]
    origin = get_origin(kind) or kind
    if is_path(origin):
        return [origin, type(origin())]
    if not isinstance(origin, type):
        raise Unsupported(f"{name_of(kind)} cannot be a member of a union")
    return [origin]


#: The JSON types that the values of a kind of types take.
_JSON_TYPES: Final[list[tuple[Callable[[Any], bool], list[type]]]] = [
    (is_class, [dict]),
    (is_typed_dict, [dict]),
    (is_mapping, [dict]),
    (is_named_tuple, [list]),
    (is_sequence, [list]),
    (is_tuple, [list]),
    (is_flag, [int]),
    (is_path, [str]),
]


def json_types(kind: Any) -> list[type]:
    """The JSON types that the values of a type take, where these are known.

    Raises:
        Unsupported: they are not.
    """
    if is_literal(kind) or is_enum(kind):
        return list({json_type for json_type, _ in choices(kind)})
    for predicate, found in _JSON_TYPES:
        if predicate(kind):
            return found
    if kind is float:
        return [float, int]
    if kind in (int, bool, NoneType):
        return [kind]
    if kind in SCALARS:
        return [str]
    raise Unsupported(f"{name_of(kind)} cannot be a member of a union")
