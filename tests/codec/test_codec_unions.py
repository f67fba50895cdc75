"""Unions: classes by their tag, all else by what JSON can tell apart."""

from __future__ import annotations

import dataclasses
from datetime import date, datetime
from decimal import Decimal
from enum import Enum, IntEnum
from typing import (  # fmt: skip
    Annotated,
    Any,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    Optional,
    TypedDict,
    TypeVar,
    Union,
)
from uuid import UUID

import attrs
import pytest

from m25 import ValueRefused
from m25._codec import Undecodable, value_codec
from m25.errors import InvalidQueue

T = TypeVar("T")


@attrs.frozen
class Cat:
    name: str
    lives: int = 9


@dataclasses.dataclass(frozen=True)
class Dog:
    name: str


@attrs.frozen
class Kitten(Cat):
    pass


@attrs.frozen
class Tagged:
    _type: str


@attrs.frozen
class Box(Generic[T]):
    item: T


class Colour(Enum):
    RED = "red"


class Level(IntEnum):
    LOW = 1


class Pair(NamedTuple):
    a: int


class Bag(TypedDict):
    a: int


Pet = NewType("Pet", Cat)


def codec_of(annotation):
    return value_codec(annotation, "the input")


FORMS = [
    (Cat | Dog, Dog("d"), '{"_type":"Dog","name":"d"}'),
    (Cat | Dog | None, None, "null"),
    (list[Cat | Dog], [Cat("c")], '[{"_type":"Cat","name":"c","lives":9}]'),
    (Cat | Kitten, Kitten("k"), '{"_type":"Kitten","name":"k","lives":9}'),
    (Optional[Cat], Cat("c"), '{"name":"c","lives":9}'),  # noqa: UP045
    (Union[Cat, Dog], Cat("c"), '{"_type":"Cat","name":"c","lives":9}'),  # noqa: UP007
    (Annotated[Cat | None, "note"] | Dog, Dog("d"), '{"_type":"Dog","name":"d"}'),
    (Pet | Dog, Cat("c"), '{"_type":"Cat","name":"c","lives":9}'),
    (Cat | str | int | list[int], [1], "[1]"),
    (Cat | str | int | list[int], 1, "1"),
    (Box[int] | None, Box(1), '{"item":1}'),
    (Box[int] | Cat, Box(1), '{"_type":"Box","item":1}'),
    (int | str, 1, "1"),
    (int | str, "1", '"1"'),
    (int | bool, True, "true"),
    (bool | int, 1, "1"),
    (int | float, 1.0, "1.0"),
    (float | int, 1, "1"),
    (float | int, 2**60 + 1, str(2**60 + 1)),
    (UUID | None, None, "null"),
    (datetime | int, 3, "3"),
    (Decimal | float, Decimal("1.5"), '"1.5"'),
    (Colour | int, Colour.RED, '"red"'),
    (Colour | Literal["auto"], "auto", '"auto"'),
    (Colour | Literal["auto"], Colour.RED, '"red"'),
    (Literal["a", "b", 1], "b", '"b"'),
    (Literal["a", None] | int, None, "null"),  # noqa: PYI061
    (Level | str, Level.LOW, "1"),
    (Pair | Bag, Pair(1), "[1]"),
    (Pair | Bag, {"a": 1}, '{"a":1}'),
    (dict[str, int] | list[int] | None, {"a": 1}, '{"a":1}'),
    (set[int] | dict[str, int], {1}, "[1]"),
]


@pytest.mark.parametrize(
    ("annotation", "value", "text"), FORMS, ids=[f"{row[0]}-{row[2]}" for row in FORMS]
)
def test_a_member_comes_back_equal_and_of_its_class(annotation, value, text):
    codec = codec_of(annotation)
    assert codec.encode(value, "input") == text
    assert codec.decode(text) == value
    assert type(codec.decode(text)) is type(value)


AMBIGUOUS = [
    str | UUID,
    str | datetime,
    date | datetime,
    str | bytes,
    str | Literal["a"],  # noqa: PYI051
    Colour | str,
    Level | int,
    list[int] | tuple[int, ...],
    list[int] | list[str],
    Pair | list[int],
    Cat | dict[str, int],
    Cat | Bag,
    Cat | Dog | dict[str, int],
]


@pytest.mark.parametrize("annotation", AMBIGUOUS, ids=str)
def test_a_union_whose_members_json_cannot_tell_apart_is_refused(annotation):
    with pytest.raises(InvalidQueue, match="cannot be told apart in JSON"):
        codec_of(annotation)


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        (Box[int] | Box[str], "two classes of .* have the same name"),
        (Tagged | Cat, "Tagged is a member of a union and has a field named '_type'"),
        (Colour | Literal["red"], "two members of .* are 'red' in JSON"),
        (Any | None, "typing.Any cannot be a member|Any cannot be a member"),
        (complex | None, "complex cannot be carried"),
    ],
)
def test_a_union_that_cannot_be_carried_is_refused(annotation, message):
    with pytest.raises(InvalidQueue, match=message):
        codec_of(annotation)


@pytest.mark.parametrize(
    ("annotation", "value", "path"),
    [
        (int | None, "1", ""),
        (int | None, True, ""),
        (Cat | Dog, Kitten("k"), ""),
        (Cat | Dog, {"_type": "Cat", "name": "c"}, ""),
        (Cat | Dog, Cat(1), ".name"),
        (list[Cat | Dog], [Dog("d"), Cat("\0")], "[1].name"),
        (list[Cat | None], [None, Cat("c", "9")], "[1].lives"),
        (Colour | int, "red", ""),
        (Literal["a"] | int, "b", ""),
        (float | None, True, ""),
    ],
)
def test_what_is_no_member_is_refused(annotation, value, path):
    with pytest.raises(ValueRefused) as caught:
        codec_of(annotation).encode(value, "input")
    assert caught.value.path == path


@pytest.mark.parametrize(
    ("annotation", "text", "path"),
    [
        (int | None, '"1"', ""),
        (int | None, "1.0", ""),
        (int | None, "true", ""),
        (Cat | Dog, '{"name": "c"}', '["_type"]'),
        (Cat | Dog, '{"_type": "Cow", "name": "c"}', '["_type"]'),
        (Cat | Dog, '{"_type": ["Cat"], "name": "c"}', '["_type"]'),
        (Cat | Dog, '{"_type": "Cat"}', ".name"),
        (Cat | Dog, '{"_type": "Dog", "name": "c", "lives": 9}', '["lives"]'),
        (Cat | None, '{"_type": "Cat", "name": "c"}', '["_type"]'),
        (Cat | Dog, "[]", ""),
        (Colour | Literal["auto"], '"blue"', ""),
        (Colour | Literal["auto"], "{}", ""),
    ],
)
def test_json_of_no_member_is_undecodable(annotation, text, path):
    with pytest.raises(Undecodable) as caught:
        codec_of(annotation).decode(text)
    assert caught.value.path == path
