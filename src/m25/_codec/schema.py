"""JSON Schema, of draft 2020-12, of the JSON that a type's values are kept as.

It says what is written, and what is read: an object's fields, which of them it must have, and no
others. Of texts with a form of their own, as a date's, it says the form that is written; some other
forms are read, too. What it cannot say is not in it: that texts hold no NUL, how large a value may
be, and that 1.0 is no whole number.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from types import NoneType
from typing import Any, Final, TypeAlias, cast, get_origin
from uuid import UUID

import attrs

from .._ids import JobId
from . import annotations as kinds
from .annotations import class_name, name_of
from .choices import choices
from .fields import fields_of, hints_of, keys_of
from .leaves import is_leaf
from .unions import TAG, json_types, members

Schema: TypeAlias = dict[str, Any]

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

#: Nothing is of this schema.
_NEVER: Final[Schema] = {"not": {}}
_WHOLE: Final = r"^(0|-?[1-9][0-9]*)$"
_DECIMAL: Final = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_TIME: Final = r"^[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?"
_OFFSET: Final = r"(Z|[+-][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?)?$"


def _text(**more: Any) -> Schema:
    return {"type": "string", **more}


#: The schemas of the types that have no parts.
_LEAVES: Final[Mapping[Any, Schema]] = {
    Any: {},
    object: {},
    NoneType: {"type": "null"},
    str: _text(),
    int: {"type": "integer"},
    bool: {"type": "boolean"},
    float: {"type": "number"},
    datetime: _text(format="date-time"),
    date: _text(format="date"),
    time: _text(pattern=_TIME + _OFFSET, description="a time of the day, as 09:30:00"),
    timedelta: _text(pattern=r"^-?[0-9]+(\.[0-9]{1,6})?$", description="seconds"),
    Fraction: _text(pattern=r"^-?[0-9]+(/[0-9]+)?$", description="a fraction, as 2/3"),
    UUID: _text(format="uuid"),
    JobId: _text(format="uuid"),
    IPv4Address: _text(format="ipv4"),
    IPv6Address: _text(description="an IPv6 address"),
    IPv4Network: _text(description="an IPv4 network, as 10.0.0.0/8"),
    IPv6Network: _text(description="an IPv6 network, as 2001:db8::/32"),
    IPv4Interface: _text(description="an IPv4 address with its network, as 10.0.0.1/8"),
    IPv6Interface: _text(description="an IPv6 address with its network, as 2001:db8::1/32"),
    Decimal: _text(pattern=_DECIMAL),
    bytes: _text(contentEncoding="base64"),
}


def value_schema(kind: Any, names: Mapping[str, Any], *, ignores_unknown: bool) -> Schema:
    """The schema of a type's values, with those of all classes that it is made of.

    `names` and `ignores_unknown` are those of the type's codec.
    """
    schemas = _Schemas(names, ignores_unknown)
    return schemas.document(schemas.of(kind))


def error_schema(
    errors: Sequence[type[Exception]], names: Mapping[str, Any], *, ignores_unknown: bool
) -> Schema:
    """The same of a queue's declared errors."""
    schemas = _Schemas(names, ignores_unknown)
    return schemas.document(_any_of([schemas.of_error(cls) for cls in errors]))


def _any_of(found: Sequence[Schema]) -> Schema:
    if not found:
        return dict(_NEVER)
    return found[0] if len(found) == 1 else {"anyOf": list(found)}


def _object(properties: Schema, required: Sequence[str], *, is_closed: bool = True) -> Schema:
    schema: Schema = {"type": "object", "properties": properties}
    if required:
        schema["required"] = list(required)
    if is_closed:
        schema["additionalProperties"] = False
    return schema


def _described(schema: Schema, cls: Any) -> Schema:
    """A schema with the name of its class, and what the class says of itself."""
    origin: type = get_origin(cls) or cls
    told: Schema = {"title": class_name(cls)}
    doc: str | None = vars(origin).get("__doc__")
    # A dataclass without a docstring is given its signature for one.
    if doc and not doc.startswith(f"{origin.__name__}("):
        told["description"] = inspect.cleandoc(doc)
    return told | schema


class _Schemas:
    """Makes the schemas of a type and of what it is made of: those of classes are named."""

    def __init__(self, names: Mapping[str, Any], ignores_unknown: bool) -> None:
        self._names = names
        self._is_closed = not ignores_unknown
        self._named: Schema = {}
        #: Each class that has a name, whether it is one of several in a union, and the name. It is
        #: there before its schema is made, which may lead to it again.
        self._known: list[tuple[Any, bool, str]] = []

    def document(self, schema: Schema) -> Schema:
        """A schema by itself, with all that it refers to."""
        return {"$schema": _DIALECT, **schema, **({"$defs": self._named} if self._named else {})}

    def of(self, kind: Any) -> Schema:
        """The schema of a type."""
        kind = kinds.bare(kind)
        if is_leaf(kind):
            return dict(_LEAVES[kind])
        for predicate, make in _MAKES:
            if predicate(kind):
                return make(self, kind)
        raise AssertionError(f"{name_of(kind)} has a codec, so it has a schema")

    def of_error(self, cls: type[Exception]) -> Schema:
        """The schema of a declared error."""
        key, parts = "args", cast("Schema", {"type": "array"})
        if kinds.is_class(cls):
            key, parts = "fields", self.of(cls)
        return _object({"type": {"const": cls.__name__}, key: parts}, ["type", key])

    def of_class(self, cls: Any, *, is_tagged: bool = False) -> Schema:
        """The schema of an attrs class or a dataclass; with its tag, if it is one of several."""

        def make() -> Schema:
            fields = fields_of(cls, self._names)
            properties = {field.name: self.of(field.type) for field in fields}
            required = [field.name for field in fields if field.default is attrs.NOTHING]
            if is_tagged:
                properties = {TAG: {"const": class_name(cls)}, **properties}
                required = [TAG, *required]
            return _object(properties, required, is_closed=self._is_closed)

        return self._refer(cls, make, is_tagged=is_tagged)

    def of_typed_dict(self, kind: Any) -> Schema:
        """The schema of a TypedDict."""

        def make() -> Schema:
            hints, required = keys_of(kind, self._names)
            properties = {key: self.of(hint) for key, hint in hints.items()}
            return _object(
                properties, [key for key in hints if key in required], is_closed=self._is_closed
            )

        return self._refer(kind, make)

    def _refer(self, cls: Any, make: Callable[[], Schema], *, is_tagged: bool = False) -> Schema:
        for known, known_as_tagged, name in self._known:
            if known == cls and known_as_tagged == is_tagged:
                return {"$ref": f"#/$defs/{name}"}
        without_modules = re.sub(r"[\w.<>]+\.", "", name_of(cls))
        base = re.sub(r"[^\w-]+", "_", without_modules, flags=re.ASCII).strip("_")
        taken = {name for _, _, name in self._known}
        name = next(
            each
            for number in range(1, len(taken) + 2)
            if (each := base if number == 1 else f"{base}-{number}") not in taken
        )
        self._known.append((cls, is_tagged, name))
        self._named[name] = _described(make(), cls)
        return {"$ref": f"#/$defs/{name}"}

    def of_union(self, kind: Any) -> Schema:
        """The schema of a union."""
        parts = members(kind)
        is_tagged = sum(map(kinds.is_class, parts)) > 1
        return _any_of(
            [
                self.of_class(each, is_tagged=True)
                if is_tagged and kinds.is_class(each)
                else self.of(each)
                for each in parts
            ]
        )

    def of_choices(self, kind: Any) -> Schema:
        """The schema of an Enum or a Literal."""
        schema: Schema = {"enum": [plain for _, plain in choices(kind)]}
        return schema if kinds.is_literal(kind) else {"title": kind.__name__, **schema}

    def of_flag(self, kind: Any) -> Schema:
        """The schema of a Flag: a number."""
        bits = ", ".join(f"{flag.name} = {flag.value}" for flag in kind)
        return {"title": kind.__name__, "type": "integer", "description": f"the sum of {bits}"}

    def of_sequence(self, kind: Any) -> Schema:
        """The schema of what is an array of any length."""
        made, item = kinds.sequence(kind)
        schema: Schema = {"type": "array", "items": self.of(item)}
        return {**schema, "uniqueItems": True} if made in (set, frozenset) else schema

    def of_tuple(self, kind: Any) -> Schema:
        """The schema of a tuple."""
        parts = kinds.items(kind)
        if len(parts) == 2 and parts[1] is Ellipsis:
            return {"type": "array", "items": self.of(parts[0])}
        return self._of_items([self.of(part) for part in parts])

    def of_named_tuple(self, kind: Any) -> Schema:
        """The schema of a NamedTuple: an array, whose items have names."""
        hints = hints_of(kind, self._names)
        fields: tuple[str, ...] = (get_origin(kind) or kind)._fields
        items = [{**self.of(hints[name]), "title": name} for name in fields]
        return _described(self._of_items(items), kind)

    @staticmethod
    def _of_items(items: list[Schema]) -> Schema:
        schema: Schema = {"type": "array", "items": False, "minItems": len(items)}
        return {**schema, "prefixItems": items} if items else schema

    def of_mapping(self, kind: Any) -> Schema:
        """The schema of what is an object with any keys."""
        _, key, item = kinds.mapping(kind)
        schema: Schema = {"type": "object", "additionalProperties": self.of(item)}
        keys = self.of(key)
        if json_types(kinds.bare(key)) == [int]:
            numbers = keys.get("enum")
            keys = {"pattern": _WHOLE} if numbers is None else {"enum": [*map(str, numbers)]}
        return schema if keys == {"type": "string"} else {**schema, "propertyNames": keys}


_MAKES: Final[list[tuple[Callable[[Any], bool], Callable[[_Schemas, Any], Schema]]]] = [
    (kinds.is_class, _Schemas.of_class),
    (kinds.is_enum, _Schemas.of_choices),
    (kinds.is_literal, _Schemas.of_choices),
    (kinds.is_flag, _Schemas.of_flag),
    (kinds.is_union, _Schemas.of_union),
    (kinds.is_named_tuple, _Schemas.of_named_tuple),
    (kinds.is_tuple, _Schemas.of_tuple),
    (kinds.is_sequence, _Schemas.of_sequence),
    (kinds.is_typed_dict, _Schemas.of_typed_dict),
    (kinds.is_mapping, _Schemas.of_mapping),
    (kinds.is_path, lambda _, __: _text(description="a path")),
    (kinds.is_never, lambda _, __: dict(_NEVER)),
]
