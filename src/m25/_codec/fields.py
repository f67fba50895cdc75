"""What a class is made of: its fields or keys, and what type each has."""

from __future__ import annotations

import dataclasses
import inspect
import sys
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any, get_args, get_origin

import attrs

from .annotations import Unsupported, is_form, name_of, qualifiers


@attrs.frozen
class Uncarried:
    """A field that its class does not take as an argument, and compares."""

    name: str
    #: What makes of its value that by which it is compared.
    key: Callable[[Any], Any]


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


def uncarried(cls: Any) -> list[Uncarried]:
    """The fields of an attrs class or a dataclass that are compared and not carried."""
    origin: Any = get_origin(cls) or cls
    if attrs.has(origin):
        fields: Iterable[Any] = attrs.fields(origin)
        return [
            Uncarried(each.name, each.eq_key or _itself)
            for each in fields
            if each.eq and not each.init
        ]
    return [
        Uncarried(each.name, _itself)
        for each in dataclasses.fields(origin)
        if each.compare and not each.init
    ]


def _itself(value: Any) -> Any:
    return value


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
    for key, hint in hints.items():
        for qualifier in qualifiers(hint):
            if is_form(qualifier, "Required"):
                required.add(key)
            elif is_form(qualifier, "NotRequired"):
                required.discard(key)
    return hints, frozenset(required)
