"""Fields that are no arguments of their class: they come back as they were, or are refused."""

from __future__ import annotations

import dataclasses
from dataclasses import InitVar
from typing import Any

import attrs
import pytest

from m25 import ValueRefused
from m25._codec import error_codec, value_codec


@attrs.define
class Upload:
    url: str
    tries: int = attrs.field(default=0, init=False)


@dataclasses.dataclass
class Download:
    url: str
    tries: int = dataclasses.field(default=0, init=False)


@dataclasses.dataclass
class Scaled:
    size: int
    factor: InitVar[int] = 1
    result: int = dataclasses.field(init=False)

    def __post_init__(self, factor: int) -> None:
        self.result = self.size * factor


@attrs.define
class Square:
    side: int
    area: int = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.area = self.side**2


@attrs.define
class Cached:
    url: str
    seen: int = attrs.field(default=0, init=False, eq=False)


@dataclasses.dataclass
class CachedToo:
    url: str
    seen: int = dataclasses.field(default=0, init=False, compare=False)


@attrs.define
class Loose:
    name: str
    rank: str = attrs.field(default="A", init=False, eq=str.lower)


@attrs.define
class Unset:
    url: str
    body: bytes = attrs.field(init=False)


@attrs.define
class Folder:
    name: str
    files: list[Upload]
    parent: Folder | None = None
    opened: int = attrs.field(default=0, init=False)


@attrs.define
class Failed(Exception):
    code: int
    tries: int = attrs.field(default=0, init=False)


@dataclasses.dataclass
class FailedToo(Exception):
    code: int
    tries: int = dataclasses.field(default=0, init=False)


class Odd:
    def __eq__(self, other: object) -> Any:
        raise ValueError("not to be compared")

    __hash__ = None  # type: ignore[assignment]


@attrs.define
class Holding:
    name: str
    odd: Any = attrs.field(factory=Odd, init=False)


def codec_of(annotation):
    return value_codec(annotation, "the input")


def changed(value, **fields):
    for name, new in fields.items():
        setattr(value, name, new)
    return value


@pytest.mark.parametrize(
    ("annotation", "value", "path"),
    [
        (Upload, changed(Upload("u"), tries=3), ".tries"),
        (Download, changed(Download("u"), tries=3), ".tries"),
        (Scaled, Scaled(2, 3), ".result"),
        (Square, changed(Square(2), area=5), ".area"),
        (Loose, changed(Loose("n"), rank="b"), ".rank"),
        (Unset, changed(Unset("u"), body=b""), ".body"),
        (list[Upload], [Upload("u"), changed(Upload("v"), tries=1)], "[1].tries"),
        (Folder, Folder("f", [changed(Upload("u"), tries=1)]), ".files[0].tries"),
        (Folder, Folder("f", [], changed(Folder("g", []), opened=1)), ".parent.opened"),
        (Upload | Download, changed(Download("u"), tries=3), ".tries"),
        (Holding, Holding("h"), ".odd"),
    ],
    ids=lambda each: str(each)[:40],
)
def test_a_field_that_would_be_lost_is_refused_by_its_name(annotation, value, path):
    with pytest.raises(ValueRefused) as caught:
        codec_of(annotation).encode(value, "input")
    assert caught.value.path == path
    assert "is no argument of its class" in caught.value.reason


@pytest.mark.parametrize(
    "value",
    [
        Upload("u"),
        Download("u"),
        Scaled(2),
        Square(2),
        changed(Cached("u"), seen=3),
        changed(CachedToo("u"), seen=3),
        changed(Loose("n"), rank="a"),
        Folder("f", [Upload("u")], Folder("g", [])),
    ],
    ids=lambda each: type(each).__name__,
)
def test_a_field_that_comes_back_equal_or_does_not_count_is_not_in_the_way(value):
    codec = codec_of(type(value))
    assert codec.decode(codec.encode(value, "input")) == value


def test_a_field_that_was_not_set_and_is_not_when_it_comes_back_is_not_in_the_way():
    codec = codec_of(Unset)
    again = codec.decode(codec.encode(Unset("u"), "input"))
    assert again.url == "u"
    assert not hasattr(again, "body")


@pytest.mark.parametrize("cls", [Failed, FailedToo])
def test_a_declared_error_does_not_lose_a_field_either(cls):
    codec = error_codec((cls,), "the errors")
    assert codec.decode(codec.encode(cls(3), "error")).code == 3
    with pytest.raises(ValueRefused) as caught:
        codec.encode(changed(cls(3), tries=3), "error")
    assert caught.value.path == ".tries"
