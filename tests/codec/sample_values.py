"""Types that the tests of values use, and what they do with codecs."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from enum import Enum, Flag, IntEnum, StrEnum, auto
from typing import (
    Any,
    Generic,
    NamedTuple,
    NewType,
    NotRequired,
    Required,
    TypedDict,
    TypeVar,
)
from uuid import UUID
from zoneinfo import ZoneInfo

import attrs
import pytest
import typing_extensions

from m25 import ValueRefused
from m25._codec import Codec, Undecodable, value_codec

T = TypeVar("T")
UserId = NewType("UserId", int)
OtherId = NewType("OtherId", UserId)


class Colour(Enum):
    RED = "red"
    GREEN = "green"
    CRIMSON = "red"  # noqa: PIE796 - an alias


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Size(str, Enum):  # noqa: UP042 - the old way is still met
    S = "s"
    L = "l"


class Word(StrEnum):
    YES = auto()


class Mixed(Enum):
    ONE = 1
    TEXT = "1"
    NOTHING = None


class Access(Flag):
    READ = 1
    WRITE = 2


class Point(NamedTuple):
    x: int
    y: float = 0.0


class Movie(TypedDict):
    title: str
    year: NotRequired[int]


class Loose(TypedDict, total=False):
    name: Required[str]
    age: int


@attrs.frozen
class Line:
    price: float
    name: str = ""


@attrs.frozen
class Visit:
    at: datetime

    def __attrs_post_init__(self):
        assert self.at.tzinfo is not None


@attrs.frozen
class Order:
    lines: list[Line]
    notes: dict[str, str] = attrs.field(factory=dict)


class Book(typing_extensions.TypedDict):
    """As on a Python that has no ReadOnly of its own."""

    title: typing_extensions.ReadOnly[str]
    id: typing_extensions.ReadOnly[typing_extensions.Required[int]]
    year: typing_extensions.NotRequired[typing_extensions.ReadOnly[int]]


class Page(typing_extensions.TypedDict, Generic[T], total=False):
    item: Required[T]
    number: int


Numbers = typing_extensions.TypeAliasType("Numbers", list[int])
Several = typing_extensions.TypeAliasType("Several", list[T], type_params=(T,))


def codec_of(annotation: Any) -> Codec[Any]:
    return value_codec(annotation, "the input")


def there_and_back(annotation: Any, value: Any) -> Any:
    codec = codec_of(annotation)
    return codec.decode(codec.encode(value, "input"))


def refused(annotation: Any, value: Any) -> ValueRefused:
    with pytest.raises(ValueRefused) as caught:
        codec_of(annotation).encode(value, "input")
    return caught.value


def undecodable(annotation: Any, plain: Any) -> Undecodable:
    text = plain if isinstance(plain, str) else json.dumps(plain)
    with pytest.raises(Undecodable) as caught:
        codec_of(annotation).decode(text)
    return caught.value


AT = datetime(2024, 2, 29, 12, 30, 1, 5, tzinfo=UTC)
ID = UUID("0190d3a0-0000-7000-8000-000000000001")
BERLIN = ZoneInfo("Europe/Berlin")
NUL = "holds the character NUL, which PostgreSQL cannot"
LONE = "holds a lone surrogate, which is no character"
