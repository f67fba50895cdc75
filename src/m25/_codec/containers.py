"""Arrays and objects: lists, sets, tuples, mappings, and dictionaries of known keys.

Where a part is refused, the container adds which one it was. It does not count its parts for that:
`index_of_latest` asks the iterator, and only after a failure.
"""

# ruff: noqa: BLE001 - what is caught is raised again, with its place

from __future__ import annotations

import operator
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from itertools import islice
from typing import Any, NoReturn, get_origin

from . import annotations as kinds
from .annotations import Unsupported, name_of
from .fields import hints_of, keys_of
from .leaves import Hook, is_leaf
from .maker import Maker
from .refusal import Refusal, described, is_newer, key_part, reason_of, reraise
from .text import index_of_latest, key_of_latest
from .unions import json_types

# Arrays


def encode_sequence(maker: Maker, kind: Any, place: str) -> Hook:
    """From a list, a deque or a set to an array."""
    taken, item_kind = kinds.sequence(kind)
    item = maker.hook(item_kind)
    what = f"a {taken.__name__}"
    if taken is list:
        return _any_length(item, taken, what, None, place)
    if taken is deque:
        return _without_maxlen(_any_length(item, taken, what, None, place), place)
    item_kind = kinds.bare(item_kind)
    # Two datetimes that are not equal can be one instant, and so can two objects that hold such.
    distinct = is_leaf(item_kind) and item_kind is not datetime
    make = _in_order if distinct else _distinct_in_order
    return _any_length(item, taken, what, make, place)


def _without_maxlen(hook: Hook, place: str) -> Hook:
    def to_json(value: Any, _: Any = None) -> Any:
        if value.__class__ is deque and value.maxlen is not None:
            raise Refusal("is a deque with a maxlen, which would be lost", place)
        return hook(value)

    return to_json


def decode_sequence(maker: Maker, kind: Any, place: str) -> Hook:
    """From an array to a list, a deque or a set."""
    made, item_kind = kinds.sequence(kind)
    make = None if made is list else made
    return _any_length(maker.hook(item_kind), list, "an array", make, place)


def encode_tuple(maker: Maker, kind: Any, place: str) -> Hook:
    """From a tuple to an array."""
    return _tuple(maker, kinds.items(kind), tuple, "a tuple", None, place)


def decode_tuple(maker: Maker, kind: Any, place: str) -> Hook:
    """From an array to a tuple."""
    return _tuple(maker, kinds.items(kind), list, "an array", tuple, place)


def encode_named_tuple(maker: Maker, kind: Any, place: str) -> Hook:
    """From a NamedTuple to an array."""
    taken = get_origin(kind) or kind
    return _fixed_length(maker, _parts(maker, kind), taken, f"a {taken.__name__}", None, place)


def decode_named_tuple(maker: Maker, kind: Any, place: str) -> Hook:
    """From an array to a NamedTuple."""
    make = (get_origin(kind) or kind)._make
    parts = _parts(maker, kind)
    return _fixed_length(maker, parts, list, "an array", make, place, may_grow=True)


def _parts(maker: Maker, kind: Any) -> list[Any]:
    hints = hints_of(kind, maker.names)
    names: tuple[str, ...] = (get_origin(kind) or kind)._fields
    for name in names:
        if name not in hints:
            raise Unsupported(f"{name_of(kind)}.{name} has no annotation")
    return [hints[name] for name in names]


def _tuple(
    maker: Maker,
    parts: tuple[Any, ...],
    taken: type,
    what: str,
    make: Callable[[list[Any]], Any] | None,
    place: str,
) -> Hook:
    if len(parts) == 2 and parts[1] is Ellipsis:
        return _any_length(maker.hook(parts[0]), taken, what, make, place)
    return _fixed_length(maker, parts, taken, what, make, place)


def _any_length(
    item: Hook,
    taken: Any,
    what: str,
    make: Callable[[list[Any]], Any] | None,
    place: str,
) -> Hook:
    """A function of what has items of one type; `make` is asked for what is to be no list."""

    def either_way(value: Any, _: Any = None) -> Any:
        if value.__class__ is not taken:
            raise Refusal(f"must be {what}, not {described(value)}", place)
        items = iter(value)
        try:
            found = [item(each) for each in items]
        except Exception as error:
            reraise(error, f"{place}[{index_of_latest(items, value)}]")
        if make is None:
            return found
        try:
            return make(found)
        except Exception as error:
            reraise(error, place)

    return either_way


def _fixed_length(
    maker: Maker,
    parts: Iterable[Any],
    taken: Any,
    what: str,
    make: Callable[[list[Any]], Any] | None,
    place: str,
    *,
    may_grow: bool = False,
) -> Hook:
    """A function of what has one item of each type; a newer version of it `may_grow`."""
    hooks = [maker.hook(part, f"[{index}]") for index, part in enumerate(parts)]
    length = len(hooks)

    def either_way(value: Any, _: Any = None) -> Any:
        if value.__class__ is not taken:
            raise Refusal(f"must be {what}, not {described(value)}", place)
        if len(value) != length:
            raise Refusal(
                f"must be {what} of {length}, not of {len(value)}",
                place,
                is_newer=may_grow and len(value) > length,
            )
        try:
            found = [hook(part) for hook, part in zip(hooks, value, strict=True)]
            return found if make is None else make(found)
        except Exception as error:
            reraise(error, place)

    return either_way


def _in_order(items: list[Any]) -> list[Any]:
    """Items of a set, in an order that does not depend on how it came about."""
    try:
        items.sort()
    except TypeError:
        items.sort(key=repr)
    return items


def _distinct_in_order(items: list[Any]) -> list[Any]:
    """Items of a set in order, where two that are not equal may be the same in JSON."""
    items = _in_order(items)
    if any(map(operator.eq, items, islice(items, 1, None))):
        raise Refusal("has two items that are the same in JSON")
    return items


# Objects


def encode_mapping(maker: Maker, kind: Any, place: str) -> Hook:
    """From a dict to an object."""
    taken: Any
    taken, key_kind, item_kind = kinds.mapping(kind)
    key, item = _key_to_text(maker, key_kind), maker.hook(item_kind)

    def to_json(value: Any, _: Any = None) -> Any:
        if value.__class__ is not taken:
            raise Refusal(f"must be a {taken.__name__}, not {described(value)}", place)
        pairs = iter(value.items())
        try:
            found = {key(name): item(part) for name, part in pairs}
        except Exception as error:
            _reraise_in_pair(error, place, key, value, pairs)
        if len(found) != len(value):
            raise Refusal("has two keys that are the same as strings", place)
        return found

    return to_json


def decode_mapping(maker: Maker, kind: Any, place: str) -> Hook:
    """From an object to a dict."""
    made: Any
    made, key_kind, item_kind = kinds.mapping(kind)
    key, item = _key_from_text(maker, key_kind), maker.hook(item_kind)

    def decoder(value: Any, _: Any = None) -> Any:
        if value.__class__ is not dict:
            raise Refusal(f"must be an object, not {described(value)}", place)
        pairs = iter(value.items())
        try:
            found = {key(name): item(part) for name, part in pairs}
        except Exception as error:
            _reraise_in_pair(error, place, key, value, pairs)
        if len(found) != len(value):
            raise Refusal("has two keys that are the same", place)
        return found if made is dict else made(found)

    return decoder


def _reraise_in_pair(
    error: Exception, place: str, key: Hook, value: Mapping[Any, Any], pairs: Iterator[Any]
) -> NoReturn:
    """Raise an error again, with the key of the pair at which it happened."""
    latest = key_of_latest(pairs, value)
    place += key_part(latest)
    try:
        # A key has no parts: to ask again whether it was the key costs little.
        key(latest)
    except Exception as at_key:
        reason = f"is a key that {reason_of(at_key)}"
        raise Refusal(reason, place, is_newer=is_newer(at_key)) from at_key
    reraise(error, place)


def _key_to_text(maker: Maker, kind: Any) -> Hook:
    hook = maker.hook(kind)
    if _is_text_key(kind):
        return hook

    def to_text(key: Any) -> str:
        return str(hook(key))

    return to_text


def _key_from_text(maker: Maker, kind: Any) -> Hook:
    hook = maker.hook(kind)
    if _is_text_key(kind):
        return hook

    def from_text(text: Any) -> Any:
        try:
            number = int(text)
        except ValueError:
            number = None
        if str(number) != text:
            raise Refusal("must be a whole number as a string")
        return hook(number)

    return from_text


def _is_text_key(kind: Any) -> bool:
    """Whether the keys of this type are strings in JSON; else they are whole numbers.

    Raises:
        Unsupported: they are neither.
    """
    kind = kinds.bare(kind)
    found = json_types(kind) if not kinds.is_union(kind) else []
    if found not in ([str], [int]):
        raise Unsupported(f"a key of type {name_of(kind)} has no form as a string")
    return found == [str]


def encode_typed_dict(maker: Maker, kind: Any, place: str) -> Hook:
    """From a TypedDict to an object."""
    return _typed_dict(maker, kind, place, "a dict", ignores_unknown=False)


def decode_typed_dict(maker: Maker, kind: Any, place: str) -> Hook:
    """From an object to a TypedDict."""
    return _typed_dict(maker, kind, place, "an object", ignores_unknown=maker.ignores_unknown)


def _typed_dict(maker: Maker, kind: Any, place: str, what: str, *, ignores_unknown: bool) -> Hook:
    hints, required = keys_of(kind, maker.names)
    hooks = {key: maker.hook(hint, key_part(key)) for key, hint in hints.items()}
    known = frozenset(hooks).issuperset

    def either_way(value: Any, _: Any = None) -> Any:
        if value.__class__ is not dict:
            raise Refusal(f"must be {what}, not {described(value)}", place)
        if not known(value):
            if not ignores_unknown:
                raise unknown_key(value, hooks, kind, place)
            value = {key: part for key, part in value.items() if key in hooks}
        if not value.keys() >= required:
            missing = next(key for key in hooks if key in required and key not in value)
            raise Refusal("is missing", place + key_part(missing))
        try:
            return {key: hooks[key](part) for key, part in value.items()}
        except Exception as error:
            reraise(error, place)

    return either_way


def unknown_key(value: Mapping[Any, Any], known: Iterable[Any], kind: Any, place: str) -> Refusal:
    """The refusal of an object that has a key which its type does not have."""
    unknown = next(key for key in value if key not in known)
    return Refusal(f"is no part of {name_of(kind)}", place + key_part(unknown), is_newer=True)
