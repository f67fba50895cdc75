"""Unions: classes are told apart by a tag, all else by what JSON can tell apart."""

from __future__ import annotations

from collections.abc import Callable
from types import NoneType
from typing import Any, Final, Literal, get_args, get_origin
from uuid import UUID

from .._ids import JobId
from .annotations import (
    Unsupported,
    bare,
    class_name,
    is_class,
    is_enum,
    is_flag,
    is_literal,
    is_mapping,
    is_named_tuple,
    is_path,
    is_sequence,
    is_tuple,
    is_typed_dict,
    is_union,
    mapping,
    name_of,
    sequence,
)
from .choices import choices
from .fields import fields_of
from .leaves import Hook, float_beside_int, is_leaf
from .maker import Maker
from .refusal import Refusal, described, key_part, shown

#: The key that tells the classes of a union apart.
TAG: Final = "_type"


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
    if is_mapping(kind):
        return [mapping(kind)[0]]
    if is_typed_dict(kind):
        return [dict]
    origin = get_origin(kind) or kind
    if is_path(origin):
        return [origin, type(origin())]
    if origin is UUID:
        return [UUID, JobId]
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
    if is_leaf(kind) and kind not in (Any, object):
        return [str]
    raise Unsupported(f"{name_of(kind)} cannot be a member of a union")


def encode_union(maker: Maker, kind: Any, place: str) -> Hook:
    """From a value of any member to its JSON."""
    parts = members(kind)
    tagged = sum(map(is_class, parts)) > 1
    by_type: dict[type, Hook] = {}
    for member in parts:
        hook = maker.hook(member, place)
        if tagged and is_class(member):
            hook = _with_tag(hook, class_name(member))
        for instance_type in instance_types(member):
            by_type[instance_type] = hook
    if float in by_type:
        if int in by_type:
            by_type[float] = float_beside_int(place)
        else:
            by_type[int] = by_type[float]

    def to_json(value: Any, _: Any = None) -> Any:
        hook = by_type.get(value.__class__)
        if hook is None:
            raise Refusal(f"must be {name_of(kind)}, not {described(value)}", place)
        return hook(value)

    return to_json


def decode_union(maker: Maker, kind: Any, place: str) -> Hook:
    """From JSON to a value of the member that it is of."""
    parts = members(kind)
    by_type: dict[type, Hook] = {}
    classes = [member for member in parts if is_class(member)]
    chosen = [member for member in parts if is_enum(member) or is_literal(member)]
    together: list[tuple[Hook, set[type]]] = []
    if len(classes) > 1:
        together.append((_decode_tagged(maker, kind, classes, place), {dict}))
    else:
        together += [(maker.hook(cls, place), {dict}) for cls in classes]
    if len(chosen) > 1:
        together.append(_decode_any_choice(maker, kind, chosen, place))
    else:
        together += [(maker.hook(each, place), set(json_types(each))) for each in chosen]
    for member in parts:
        if member in classes or member in chosen:
            continue
        taken = set(json_types(member))
        if member is float and int in parts:
            # A whole number is an int where a union has both.
            taken.discard(int)
        together.append((maker.hook(member, place), taken))
    for decoder, taken in together:
        for json_type in taken:
            if json_type in by_type:
                raise Unsupported(
                    f"the members of {name_of(kind)} cannot be told apart in JSON; use "
                    "classes, which are tagged"
                )
            by_type[json_type] = decoder

    def decoder_of_union(value: Any, _: Any = None) -> Any:
        decoder = by_type.get(value.__class__)
        if decoder is None:
            raise Refusal(f"must be {name_of(kind)}, not {described(value)}", place)
        return decoder(value)

    return decoder_of_union


def _decode_tagged(maker: Maker, kind: Any, classes: list[Any], place: str) -> Hook:
    by_tag: dict[Any, Hook] = {}
    for cls in classes:
        if any(field.name == TAG for field in fields_of(cls, maker.names)):
            raise Unsupported(
                f"{name_of(cls)} is a member of a union and has a field named {TAG!r}"
            )
        by_tag[class_name(cls)] = maker.hook(cls, place)
    if len(by_tag) < len(classes):
        raise Unsupported(f"two classes of {name_of(kind)} have the same name")

    def decoder(value: Any, _: Any = None) -> Any:
        fields = dict(value)
        tag = fields.pop(TAG, None)
        found = by_tag.get(tag) if isinstance(tag, str) else None
        if found is None:
            raise Refusal(
                f"must be one of {', '.join(map(repr, by_tag))}",
                place + key_part(TAG),
                is_newer=isinstance(tag, str),
            )
        return found(fields)

    return decoder


def _decode_any_choice(
    maker: Maker, kind: Any, members: list[Any], place: str
) -> tuple[Hook, set[type]]:
    decoders: dict[tuple[type, Any], Hook] = {}
    for member in members:
        hook = maker.hook(member, place)
        for choice in choices(member):
            if choice in decoders:
                raise Unsupported(f"two members of {name_of(kind)} are {shown(choice[1])} in JSON")
            decoders[choice] = hook

    def decoder(value: Any, _: Any = None) -> Any:
        found = decoders.get((value.__class__, value))
        if found is None:
            raise Refusal(
                f"must be one of {name_of(kind)}, and this {described(value)} is not",
                place,
                is_newer=True,
            )
        return found(value)

    return decoder, {json_type for json_type, _ in decoders}


def _with_tag(hook: Hook, tag: str) -> Hook:
    def to_json(value: Any) -> Any:
        return {TAG: tag, **hook(value)}

    return to_json
