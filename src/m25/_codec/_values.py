"""From a type annotation to the two functions that turn its values into plain JSON and back.

cattrs finds and composes them. What is added here is strictness: each function accepts values of its
own type alone, so that what would not come back equal is refused where it goes in.

    type                            as JSON
    str, int, bool, None            themselves
    float                           a number; an int that a float can hold comes back as that float
    attrs class, dataclass          an object of its fields, no more and no fewer than it declares
    TypedDict                       the same
    union of classes                the same, with the class's name in "_type"
    other union                     its members', where JSON tells them apart
    list, set, frozenset, tuple     an array; a tuple's length is checked
    NamedTuple                      an array
    dict                            an object; keys of str, int, enum, UUID become strings
    Enum                            its value
    Literal                         itself
    datetime, date, time            ISO 8601; a datetime must be aware, and comes back in UTC
    timedelta                       seconds, as a string of decimal digits
    UUID, Decimal, Path             a string
    bytes                           base64, as a string
    Any                             a plain JSON value, as it is
"""

from __future__ import annotations

import base64
import dataclasses
import enum
import math
import typing
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import PurePath
from types import NoneType, UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin
from uuid import UUID

import attrs
import cattrs
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn

from .._errors import InvalidQueue
from .._moments import duration_from_text, duration_to_text
from ._codec import Codec
from ._refusal import Refusal, key_part, reason_of, shown
from ._text import find_fault

#: One direction of one type.
Hook = Callable[[Any], Any]

TAG: Final = "_type"

_SEQUENCES: Final = {list: list, set: set, frozenset: frozenset}


class Unsupported(Exception):
    """No JSON form is known for a type."""


def value_codec(annotation: Any, where: str) -> Codec[Any]:
    """Make the codec of the values that `annotation` describes.

    Raises:
        InvalidQueue: it cannot carry them; the message names the type and begins with `where`.
    """
    fast, tracing = Carrier(trace=False), Carrier(trace=True)
    try:
        return Codec(
            fast.to_json(annotation),
            fast.decoder(annotation),
            tracing.to_json(annotation),
            tracing.decoder(annotation),
        )
    except Unsupported as error:
        raise InvalidQueue(f"{where}: {error}") from error
    except (TypeError, NameError, cattrs.StructureHandlerNotFoundError) as error:
        raise InvalidQueue(
            f"{where}: {_name(annotation)} cannot be carried as JSON: {reason_of(error)}"
        ) from error


class Carrier:
    """A cattrs converter with our hooks; one that traces finds out where in a value a fault is."""

    def __init__(self, *, trace: bool) -> None:
        self._trace = trace
        self._converter = converter = cattrs.Converter(
            detailed_validation=False,
            forbid_extra_keys=True,
            structure_fallback_factory=_unsupported,
            unstructure_fallback_factory=_unsupported,
        )
        for kind, (to_json, decoder) in _SIMPLE.items():
            converter.register_unstructure_hook(kind, to_json)
            converter.register_structure_hook(kind, _for_cattrs(decoder))
        # Each pair is asked before those above it.
        self._register(_is_class, self._class_to_json, self._class_decoder)
        self._register(_is_enum, self._choice_to_json, self._choice_decoder)
        self._register(_is_literal, self._choice_to_json, self._choice_decoder)
        self._register(_is_sequence, self._sequence_to_json, self._sequence_decoder)
        self._register(_is_tuple, self._tuple_to_json, self._tuple_decoder)
        self._register(_is_mapping, self._mapping_to_json, self._mapping_decoder)
        self._register(_is_any, lambda _: _any, lambda _: _any)
        self._register(_is_none, lambda _: _none, lambda _: _none)
        self._register(_is_path, lambda _: _path_to_json, lambda kind: _path_decoder(kind))
        self._register(_is_union, self._union_to_json, self._union_decoder)

    def _register(
        self,
        predicate: Callable[[Any], bool],
        make_to_json: Callable[[Any], Hook],
        make_decoder: Callable[[Any], Hook],
    ) -> None:
        self._converter.register_unstructure_hook_factory(predicate, make_to_json)
        self._converter.register_structure_hook_factory(
            predicate, lambda kind: _for_cattrs(make_decoder(kind))
        )

    def to_json(self, kind: Any) -> Hook:
        """The function from a value of this type to plain JSON."""
        return self._converter.get_unstructure_hook(kind)

    def decoder(self, kind: Any) -> Hook:
        """The function from plain JSON to a value of this type."""
        hook = self._converter.get_structure_hook(kind)
        return lambda value: hook(value, kind)

    # Classes

    def _class_to_json(self, cls: Any) -> Hook:
        origin = get_origin(cls) or cls
        fields = make_dict_unstructure_fn(cls, self._converter)
        parts = _fields(cls) if self._trace else {}

        def to_json(value: Any) -> Any:
            if value.__class__ is not origin:
                raise Refusal(f"must be {_name(cls)}, not {_described(value)}")
            for name, kind in parts.items():
                with _inside(f".{name}"):
                    self.to_json(kind)(getattr(value, name))
            return fields(value)

        return to_json

    def _class_decoder(self, cls: Any) -> Hook:
        structure = make_dict_structure_fn(
            cls, self._converter, _cattrs_forbid_extra_keys=True, _cattrs_detailed_validation=False
        )
        parts = _fields(cls) if self._trace else {}

        def decoder(value: Any) -> Any:
            if value.__class__ is not dict:
                raise Refusal(f"must be an object, not {_described(value)}")
            for name, kind in parts.items():
                if name in value:
                    with _inside(f".{name}"):
                        self.decoder(kind)(value[name])
            if self._trace:
                try:
                    return structure(value, cls)
                except Exception as error:
                    raise Refusal(reason_of(error)) from error
            return structure(value, cls)

        return decoder

    # Choices

    def _choice_to_json(self, kind: Any) -> Hook:
        table = _choices(kind)
        members = {(type(member), member): plain for plain, member in table.items()}

        def to_json(value: Any) -> Any:
            try:
                return members[type(value), value][1]
            except (KeyError, TypeError) as error:
                raise Refusal(f"must be one of {_name(kind)}, not {shown(value)}") from error

        return to_json

    def _choice_decoder(self, kind: Any) -> Hook:
        table = _choices(kind)

        def decoder(value: Any) -> Any:
            try:
                return table[type(value), value]
            except (KeyError, TypeError) as error:
                raise Refusal(f"must be one of {_name(kind)}, not {shown(value)}") from error

        return decoder

    # Containers

    def _sequence_to_json(self, kind: Any) -> Hook:
        origin, item_kind = _sequence(kind)
        item = self.to_json(item_kind)

        def to_json(value: Any) -> Any:
            if value.__class__ is not origin:
                raise Refusal(f"must be a {origin.__name__}, not {_described(value)}")
            return self._each(item, value)

        return to_json

    def _sequence_decoder(self, kind: Any) -> Hook:
        origin, item_kind = _sequence(kind)
        item = self.decoder(item_kind)

        def decoder(value: Any) -> Any:
            if value.__class__ is not list:
                raise Refusal(f"must be an array, not {_described(value)}")
            items = self._each(item, value)
            return items if origin is list else origin(items)

        return decoder

    def _each(self, item: Hook, values: Iterable[Any]) -> list[Any]:
        if not self._trace:
            return [item(value) for value in values]
        found: list[Any] = []
        for index, value in enumerate(values):
            with _inside(f"[{index}]"):
                found.append(item(value))
        return found

    def _tuple_to_json(self, kind: Any) -> Hook:
        return self._tuple(kind, self.to_json, tuple, list)

    def _tuple_decoder(self, kind: Any) -> Hook:
        return self._tuple(kind, self.decoder, list, tuple)

    def _tuple(self, kind: Any, direction: Callable[[Any], Hook], taken: type, made: type) -> Hook:
        kinds = get_args(kind)
        what = "an array" if taken is list else "a tuple"
        if not kinds or kinds[-1] is Ellipsis:
            item = direction(kinds[0] if kinds else Any)

            def any_length(value: Any) -> Any:
                if value.__class__ is not taken:
                    raise Refusal(f"must be {what}, not {_described(value)}")
                return made(self._each(item, value))

            return any_length
        items = [direction(each) for each in kinds if each != ()]

        def fixed_length(value: Any) -> Any:
            if value.__class__ is not taken:
                raise Refusal(f"must be {what}, not {_described(value)}")
            if len(value) != len(items):
                raise Refusal(f"must be {what} of {len(items)}, not of {len(value)}")
            found: list[Any] = []
            for index, (item, each) in enumerate(zip(items, value, strict=True)):
                with _inside(f"[{index}]"):
                    found.append(item(each))
            return made(found)

        return fixed_length

    def _mapping_to_json(self, kind: Any) -> Hook:
        key_kind, item_kind = _mapping(kind)
        key_to_text, item = _key_to_text(self.to_json(key_kind), key_kind), self.to_json(item_kind)

        def to_json(value: Any) -> Any:
            if value.__class__ is not dict:
                raise Refusal(f"must be a dict, not {_described(value)}")
            if not self._trace:
                return {key_to_text(key): item(each) for key, each in value.items()}
            found: dict[str, Any] = {}
            for key, each in value.items():
                with _inside(key_part(key)):
                    found[key_to_text(key)] = item(each)
            return found

        return to_json

    def _mapping_decoder(self, kind: Any) -> Hook:
        key_kind, item_kind = _mapping(kind)
        key_from_text = _key_from_text(self.decoder(key_kind), key_kind)
        item = self.decoder(item_kind)

        def decoder(value: Any) -> Any:
            if value.__class__ is not dict:
                raise Refusal(f"must be an object, not {_described(value)}")
            if not self._trace:
                return {key_from_text(key): item(each) for key, each in value.items()}
            found: dict[Any, Any] = {}
            for key, each in value.items():
                with _inside(key_part(key)):
                    found[key_from_text(key)] = item(each)
            return found

        return decoder

    # Unions

    def _union_to_json(self, kind: Any) -> Hook:
        members = _members(kind)
        tagged = len(_classes(members)) > 1
        by_type: dict[type, Hook] = {}
        for member in members:
            hook = self.to_json(member)
            for instance_type in _instance_types(member):
                by_type.setdefault(
                    instance_type,
                    _with_tag(hook, instance_type.__name__)
                    if tagged and _is_class(member)
                    else hook,
                )

        def to_json(value: Any) -> Any:
            hook = by_type.get(value.__class__)
            if hook is None:
                raise Refusal(f"must be {_name(kind)}, not {_described(value)}")
            return hook(value)

        return to_json

    def _union_decoder(self, kind: Any) -> Hook:
        members = _members(kind)
        classes = _classes(members)
        by_json_type: dict[type, Hook] = {}
        by_tag = {_class_name(cls): self.decoder(cls) for cls in classes}
        if len(by_tag) < len(classes):
            raise Unsupported(f"two classes of {_name(kind)} have the same name")
        for member in members:
            if len(classes) > 1 and member in classes:
                _refuse_field_named_tag(member)
                continue
            decoder = self.decoder(member)
            for json_type in _json_types(member):
                if json_type in by_json_type or (json_type is dict and len(classes) > 1):
                    # A whole number is an int where a union has both.
                    if json_type is int and float in members and int in members:
                        by_json_type[int] = self.decoder(int)
                        continue
                    raise Unsupported(f"the members of {_name(kind)} cannot be told apart in JSON")
                by_json_type[json_type] = decoder
        if len(classes) > 1:
            by_json_type[dict] = _by_tag(by_tag)

        def decoder_of_union(value: Any) -> Any:
            decoder = by_json_type.get(value.__class__)
            if decoder is None:
                raise Refusal(f"must be {_name(kind)}, not {_described(value)}")
            return decoder(value)

        return decoder_of_union


# Which types there are


def _is_class(kind: Any) -> bool:
    origin = get_origin(kind) or kind
    return isinstance(origin, type) and (attrs.has(origin) or dataclasses.is_dataclass(origin))


def _is_enum(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, enum.Enum)


def _is_literal(kind: Any) -> bool:
    return get_origin(kind) is Literal


def _is_sequence(kind: Any) -> bool:
    return (get_origin(kind) or kind) in _SEQUENCES


def _is_tuple(kind: Any) -> bool:
    return (get_origin(kind) or kind) is tuple


def _is_mapping(kind: Any) -> bool:
    return (get_origin(kind) or kind) is dict


def _is_any(kind: Any) -> bool:
    return kind is Any


def _is_none(kind: Any) -> bool:
    return kind is None or kind is NoneType


def _is_path(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, PurePath)


def _is_union(kind: Any) -> bool:
    return get_origin(kind) in (Union, UnionType)


def _unsupported(kind: Any) -> Hook:
    raise Unsupported(
        f"{_name(kind)} cannot be carried as JSON; use an attrs class or a dataclass, or give the "
        "queue's codec by hand"
    )


def _fields(cls: Any) -> dict[str, Any]:
    """The fields of a class that are carried, with their types."""
    origin = get_origin(cls) or cls
    hints = typing.get_type_hints(origin, include_extras=True)
    given = attrs.fields(origin) if attrs.has(origin) else dataclasses.fields(origin)
    values = dict(zip(getattr(origin, "__parameters__", ()), get_args(cls), strict=False))
    fields: dict[str, Any] = {}
    for field in given:
        if field.init:
            kind = hints.get(field.name, Any)
            if parameters := getattr(kind, "__parameters__", ()):
                kind = kind[tuple(values.get(each, Any) for each in parameters)]
            fields[field.name] = values.get(kind, kind)
    return fields


def _sequence(kind: Any) -> tuple[type, Any]:
    origin = get_origin(kind) or kind
    return origin, (get_args(kind) or (Any,))[0]


def _mapping(kind: Any) -> tuple[Any, Any]:
    key, item = get_args(kind) or (str, Any)
    return key, item


def _choices(kind: Any) -> dict[tuple[type, Any], Any]:
    """From each choice's JSON form, with its type since 1 == True, to the choice."""
    if _is_literal(kind):
        options = {each: each for each in get_args(kind)}
    else:
        options = {member.value: member for member in kind}
    table: dict[tuple[type, Any], Any] = {}
    for plain, choice in options.items():
        plain = plain.value if isinstance(plain, enum.Enum) else plain  # noqa: PLW2901
        if type(plain) not in (str, int, bool, NoneType):
            raise Unsupported(
                f"{_name(kind)} cannot be carried as JSON: {shown(plain)} is not a string, a whole "
                "number, a truth value or None"
            )
        table[type(plain), plain] = choice
    return table


def _members(kind: Any) -> list[Any]:
    return [NoneType if member is None else member for member in get_args(kind)]


def _classes(members: Iterable[Any]) -> list[Any]:
    return [member for member in members if _is_class(member)]


def _class_name(cls: Any) -> str:
    return (get_origin(cls) or cls).__name__


def _instance_types(kind: Any) -> list[type]:
    """The classes of the values of a union's member."""
    if _is_literal(kind):
        return [type(each) for each in get_args(kind)]
    origin = getattr(kind, "__supertype__", None) or get_origin(kind) or kind
    if get_origin(kind) is typing.Annotated:
        return _instance_types(get_args(kind)[0])
    if origin is float:
        return [float, int]
    if not isinstance(origin, type):
        raise Unsupported(f"{_name(kind)} cannot be a member of a union")
    if _is_path(origin):
        return [origin, type(origin())]
    return [origin]


def _json_types(kind: Any) -> list[type]:
    """The JSON types that a union's member takes."""
    if get_origin(kind) is typing.Annotated:
        return _json_types(get_args(kind)[0])
    kind = getattr(kind, "__supertype__", kind)
    if _is_literal(kind) or _is_enum(kind):
        return list({plain_type for plain_type, _ in _choices(kind)})
    if _is_class(kind) or _is_mapping(kind):
        return [dict]
    if _is_sequence(kind) or _is_tuple(kind):
        return [list]
    if kind is float:
        return [float, int]
    if kind in (int, bool, NoneType):
        return [kind]
    if kind in _SIMPLE or _is_path(kind):
        return [str]
    raise Unsupported(f"{_name(kind)} cannot be a member of a union")


def _refuse_field_named_tag(cls: Any) -> None:
    if TAG in _fields(cls):
        raise Unsupported(f"{_name(cls)} is a member of a union and has a field named {TAG!r}")


def _with_tag(hook: Hook, tag: str) -> Hook:
    return lambda value: {TAG: tag, **hook(value)}


def _by_tag(decoders: dict[str, Hook]) -> Hook:
    def decoder(value: Any) -> Any:
        fields = dict(value)
        found = decoders.get(fields.pop(TAG, None))
        if found is None:
            raise Refusal(f"{TAG!r} must be one of {', '.join(map(repr, decoders))}")
        return found(fields)

    return decoder


def _key_to_text(hook: Hook, kind: Any) -> Callable[[Any], str]:
    def to_text(key: Any) -> str:
        plain = hook(key)
        if plain.__class__ is str:
            return str(plain)
        if plain.__class__ is int:
            return str(plain)
        raise Refusal(f"a key of type {_name(kind)} has no form as a string")

    return hook if kind is str else to_text


def _key_from_text(hook: Hook, kind: Any) -> Callable[[str], Any]:
    def from_text(text: str) -> Any:
        try:
            return hook(text)
        except Refusal:
            number = int(text) if text.lstrip("-").isdecimal() and len(text) < 100 else None
            if number is None or str(number) != text:
                raise
            return hook(number)

    return hook if kind is str else from_text


# Both directions of the simple types


def _exactly(kind: type, what: str) -> Hook:
    def check(value: Any) -> Any:
        if value.__class__ is not kind:
            raise Refusal(f"must be {what}, not {_described(value)}")
        return value

    return check


def _none(value: Any) -> None:
    if value is not None:
        raise Refusal(f"must be None, not {_described(value)}")


def _any(value: Any) -> Any:
    find_fault(value)
    return value


def _float(value: Any) -> float:
    if value.__class__ is float:
        if not math.isfinite(value):
            raise Refusal(f"{value} is not a JSON number")
        return value  # type: ignore[no-any-return]
    if value.__class__ is not int:
        raise Refusal(f"must be a float, not {_described(value)}")
    try:
        number = float(value)
    except OverflowError as error:
        raise Refusal("is more than a float can hold") from error
    if number != value:
        raise Refusal("is an integer that a float cannot hold exactly")
    return number


def _to_text(kind: type, convert: Callable[[Any], str]) -> Hook:
    def to_json(value: Any) -> str:
        if value.__class__ is not kind:
            raise Refusal(f"must be a {kind.__name__}, not {_described(value)}")
        return convert(value)

    return to_json


def _from_text(kind: type, convert: Callable[[str], Any]) -> Hook:
    def decoder(value: Any) -> Any:
        if value.__class__ is not str:
            raise Refusal(f"must be a {kind.__name__} as a string, not {_described(value)}")
        try:
            return convert(value)
        except (ValueError, OverflowError, InvalidOperation) as error:
            raise Refusal(f"{shown(value)} is not a {kind.__name__}") from error

    return decoder


def _datetime_to_text(value: datetime) -> str:
    if value.utcoffset() is None:
        raise Refusal("must be aware of its time zone, as datetime.now(UTC) is")
    try:
        return value.astimezone(UTC).isoformat()
    except OverflowError as error:
        raise Refusal("lies outside the years 1 to 9999 in UTC") from error


def _datetime_from_text(text: str) -> datetime:
    value = datetime.fromisoformat(text)
    if value.utcoffset() is None:
        raise Refusal(f"{shown(text)} has no time zone")
    return value.astimezone(UTC)


def _decimal_to_text(value: Decimal) -> str:
    if not value.is_finite():
        raise Refusal(f"{value} is not a number")
    return str(value)


def _decimal_from_text(text: str) -> Decimal:
    value = Decimal(text)
    if not value.is_finite():
        raise Refusal(f"{shown(text)} is not a number")
    return value


def _path_to_json(value: Any) -> str:
    if not isinstance(value, PurePath):
        raise Refusal(f"must be a path, not {_described(value)}")
    return str(value)


def _path_decoder(kind: Any) -> Hook:
    return _from_text(kind, kind)


def _bytes_from_text(text: str) -> bytes:
    return base64.b64decode(text.encode(), validate=True)


def _bytes_to_text(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _same(kind: type, what: str) -> tuple[Hook, Hook]:
    check = _exactly(kind, what)
    return check, check


def _as_text(
    kind: type, to_text: Callable[[Any], str], from_text: Callable[[str], Any]
) -> tuple[Hook, Hook]:
    return _to_text(kind, to_text), _from_text(kind, from_text)


_SIMPLE: Final[dict[type, tuple[Hook, Hook]]] = {
    str: _same(str, "a string"),
    int: _same(int, "a whole number"),
    bool: _same(bool, "a truth value"),
    float: (_float, _float),
    datetime: _as_text(datetime, _datetime_to_text, _datetime_from_text),
    date: _as_text(date, date.isoformat, date.fromisoformat),
    time: _as_text(time, time.isoformat, time.fromisoformat),
    timedelta: _as_text(timedelta, duration_to_text, duration_from_text),
    UUID: _as_text(UUID, str, UUID),
    Decimal: _as_text(Decimal, _decimal_to_text, _decimal_from_text),
    bytes: _as_text(bytes, _bytes_to_text, _bytes_from_text),
}


# Words


class _inside:  # noqa: N801 - it reads as a word
    """Adds a part to the path of a refusal that passes; a bare error becomes one."""

    __slots__ = ("_part",)

    def __init__(self, part: str) -> None:
        self._part = part

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, Refusal):
            error.inside(self._part)
        elif isinstance(error, Exception):
            raise Refusal(reason_of(error), self._part) from error


def _for_cattrs(hook: Hook) -> Callable[[Any, Any], Any]:
    return lambda value, _: hook(value)


def _name(kind: Any) -> str:
    if isinstance(kind, type) and not get_args(kind):
        return kind.__name__
    return str(kind).replace("typing.", "")


def _described(value: Any) -> str:
    return value.__class__.__name__
