"""What is refused, in both directions and when it is declared, with the path to blame."""

from __future__ import annotations

import collections
import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
)
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import (
    Any,
    Literal,
    Never,
    NoReturn,
)
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from sample_values import (
    AT,
    ID,
    LONE,
    NUL,
    Access,
    Book,
    Colour,
    Level,
    Line,
    Loose,
    Movie,
    Order,
    Page,
    Point,
    Size,
    T,
    codec_of,
    refused,
    undecodable,
)

from m25._codec import value_codec
from m25.errors import InvalidQueue, ValueRefused


def no(kind: str, article: str = "a") -> str:
    return f"must be {article} {kind} as a string, and this string is none"


REFUSED = [
    (str, 1, "", "must be a string, not int"),
    (str, Size.S, "", "must be a string, not Size"),
    (str, b"", "", "must be a string, not bytes"),
    (str, None, "", "must be a string, not None"),
    (str, "a\0b", "", NUL),
    (str, "\ud800", "", LONE),
    (int, "1", "", "must be a whole number, not str"),
    (int, True, "", "must be a whole number, not bool"),
    (int, 1.0, "", "must be a whole number, not float"),
    (int, Level.LOW, "", "must be a whole number, not Level"),
    (int, 10**5000, "", "is an integer of too many digits"),
    (bool, 1, "", "must be a truth value, not int"),
    (None, 0, "", "must be None, not int"),
    (float, "1", "", "must be a float, not str"),
    (float, True, "", "must be a float, not bool"),
    (float, math.nan, "", "nan is not a JSON number"),
    (float, -math.inf, "", "-inf is not a JSON number"),
    (float, 10**400, "", "is more than a float can hold"),
    (datetime, datetime(2024, 1, 1), "", "must be aware of its time zone, as datetime.now(UTC) is"),  # noqa: DTZ001
    (datetime, date(2024, 1, 1), "", "must be a datetime, not date"),
    (date, AT, "", "must be a date, not datetime"),
    (
        datetime,
        datetime.max.replace(tzinfo=timezone(timedelta(hours=-1))),
        "",
        "lies outside the years 1 to 9999 in UTC",
    ),
    (
        time,
        time(12, tzinfo=ZoneInfo("Europe/Berlin")),
        "",
        "has a time zone, and without a date no offset from UTC",
    ),
    (timedelta, 1.0, "", "must be a timedelta, not float"),
    (UUID, str(ID), "", "must be a UUID, not str"),
    (Decimal, 1, "", "must be a Decimal, not int"),
    (Decimal, Decimal("NaN"), "", "is not a finite number"),
    (Decimal, Decimal("sNaN"), "", "is not a finite number"),
    (Decimal, Decimal("Infinity"), "", "is not a finite number"),
    (bytes, bytearray(b"a"), "", "must be a bytes, not bytearray"),
    (Path, "/a", "", "must be a Path, not str"),
    (Path, PurePosixPath("a"), "", "must be a Path, not PurePosixPath"),
    (PurePath, PureWindowsPath("a"), "", "must be a PurePath, not PureWindowsPath"),
    (Path, Path("\udcff"), "", LONE),
    (Any, {1, 2}, "", "set is not a JSON type"),
    (Any, (1, 2), "", "tuple is not a JSON type"),
    (Any, {"a": [math.nan]}, '["a"][0]', "nan is not a JSON number"),
    (Any, {1: 2}, "[1]", "is a key that is not a string"),
    (Any, {"a\0": 2}, '["a\\u0000"]', f"is a key that {NUL}"),
    (Any, [[10**5000]], "[0][0]", "is an integer of too many digits"),
    (Colour, "red", "", "must be one of Colour, and this str is not"),
    (Level, 1, "", "must be one of Level, and this int is not"),
    (Literal[1], True, "", "must be one of Literal[1], and this bool is not"),
    (Literal[1], 1.0, "", "must be one of Literal[1], and this float is not"),
    (Literal["s"], Size.S, "", None),
    (Literal[True], 1, "", "must be one of Literal[True], and this int is not"),
    (Access, 1, "", "must be Access, not int"),
    (list[int], (1,), "", "must be a list, not tuple"),
    (list[int], [1, "2"], "[1]", "must be a whole number, not str"),
    (Sequence[int], (1,), "", "must be a list, not tuple"),
    (set[int], frozenset(), "", "must be a set, not frozenset"),
    (frozenset[int], set(), "", "must be a frozenset, not set"),
    (tuple[int, ...], [1], "", "must be a tuple, not list"),
    (tuple[int, str], (1,), "", "must be a tuple of 2, not of 1"),
    (tuple[int, str], (1, 2), "[1]", "must be a string, not int"),
    (tuple[()], (1,), "", "must be a tuple of 0, not of 1"),
    (tuple[int, float], Point(1), "", "must be a tuple, not Point"),
    (Point, (1, 2.0), "", "must be a Point, not tuple"),
    (Point, Point(1, "2"), "[1]", "must be a float, not str"),
    (dict[str, int], {1: 1}, "[1]", "is a key that must be a string, not int"),
    (dict[str, int], {"key": "1"}, '["key"]', "must be a whole number, not str"),
    (dict[str, int], {"a\ud800": 1}, '["a\\ud800"]', f"is a key that {LONE}"),
    (dict[str, int], collections.OrderedDict(a=1), "", "must be a dict, not OrderedDict"),
    (dict[int, int], {True: 1}, "[True]", "is a key that must be a whole number, not bool"),
    (dict[Any, int], {1: 1}, "[1]", "is a key that must be a string, not int"),
    (Movie, {"title": 1}, '["title"]', "must be a string, not int"),
    (Movie, {}, '["title"]', "is missing"),
    (Movie, {"title": "M", "x": 1}, '["x"]', "is no part of Movie"),
    (Loose, {"age": 1}, '["name"]', "is missing"),
    (Never, 1, "", "there must be no value, and there is one: int"),
    (object, {1, 2}, "", "set is not a JSON type"),
    (dict[str, object], {"a": [(1,)]}, '["a"][0]', "tuple is not a JSON type"),
    (dict[object, int], {1: 1}, "[1]", "is a key that must be a string, not int"),
    (Fraction, 0.5, "", "must be a Fraction, not float"),
    (Fraction, Fraction(1, 10**5000), "", "is an integer of too many digits"),
    (IPv4Address, "10.0.0.1", "", "must be an IPv4Address, not str"),
    (IPv4Address, IPv4Interface("10.0.0.1/8"), "", "must be an IPv4Address, not IPv4Interface"),
    (IPv6Address, IPv6Address("fe80::1%\0"), "", NUL),
    (collections.deque[int], [1], "", "must be a deque, not list"),
    (collections.deque[int], collections.deque([1, "a"]), "[1]", "must be a whole number, not str"),
    (
        list[collections.deque[int]],
        [collections.deque([1], maxlen=3)],
        "[0]",
        "is a deque with a maxlen, which would be lost",
    ),
    (collections.deque[str], collections.deque(["a", "\0"]), "[1]", NUL),
    (Counter[str], {"a": 1}, "", "must be a Counter, not dict"),
    (dict[str, int], Counter("a"), "", "must be a dict, not Counter"),
    (Counter[str], Counter({"a": 1.5}), '["a"]', "must be a whole number, not float"),
    (Counter[str], Counter([1]), "[1]", "is a key that must be a string, not int"),
    (Iterable[str], "abc", "", "must be a list, not str"),
    (Collection[int], {1}, "", "must be a list, not set"),
    (Book, {"title": "M"}, '["id"]', "is missing"),
    (Book, {"title": "M", "id": "3"}, '["id"]', "must be a whole number, not str"),
    (Page[str], {"item": 1}, '["item"]', "must be a string, not int"),
    (Line, {"price": 1.0}, "", "must be Line, not dict"),
    (Line, Line("x"), ".price", "must be a float, not str"),
    (Order, Order([Line(1.0), Line(math.inf)]), ".lines[1].price", "inf is not a JSON number"),
    (Order, Order([Line(1.0, "\0")]), ".lines[0].name", NUL),
    (Order, Order([], {"key": "\udfff"}), '.notes["key"]', LONE),
    (dict[int, str], {1: "", 30: "\0"}, "[30]", NUL),
    (dict[Colour, list[str]], {Colour.RED: ["", "\0"]}, "[<Colour.RED: 'red'>][1]", NUL),
    (tuple[int, Order], (1, Order([Line(1.0, "\0")])), "[1].lines[0].name", NUL),
    (set[str], {"\0"}, "[0]", NUL),
    (Movie, {"title": "\0"}, '["title"]', NUL),
]  # fmt: skip


@pytest.mark.parametrize(
    ("annotation", "value", "path", "reason"),
    REFUSED,
    ids=[f"{row[0]}{row[2]}: {row[3]}" for row in REFUSED],
)
def test_a_value_that_would_not_come_back_equal_is_refused_with_its_path(
    annotation, value, path, reason
):
    error = refused(annotation, value)
    assert error.path == path
    assert reason is None or error.reason == reason
    assert str(error) == f"input{path}: {error.reason}"


UNDECODABLE = [
    (str, 1, "", "must be a string, not int"),
    (int, '"1"', "", "must be a whole number, not str"),
    (int, True, "", "must be a whole number, not bool"),
    (int, 1.0, "", "must be a whole number, not float"),
    (bool, 0, "", "must be a truth value, not int"),
    (None, 0, "", "must be None, not int"),
    (float, '"1.0"', "", "must be a float, not str"),
    (float, "1" + "0" * 400 + ".5", "", "inf is not a JSON number"),
    (datetime, '"12345-01-01T00:00Z"', "", no("datetime")),
    (datetime, '"2024-01-01T00:00:00"', "", "is a datetime without a time zone"),
    (datetime, '"9999-12-31T23:59:59-01:00"', "", no("datetime")),
    (datetime, 0, "", "must be a datetime as a string, not int"),
    (date, '"2024-02-30"', "", no("date")),
    (date, '"2024-01-01T00:00:00Z"', "", no("date")),
    (time, '"25:00"', "", no("time")),
    (timedelta, '"1e3"', "", no("timedelta")),
    (timedelta, '"inf"', "", no("timedelta")),
    (timedelta, '"' + "9" * 30 + '"', "", None),
    (timedelta, '"' + "9" * 5000 + '"', "", None),
    (UUID, '"x"', "", no("UUID")),
    (Decimal, '"NaN"', "", "is not a finite number"),
    (Decimal, '"x"', "", no("Decimal")),
    (Decimal, '"1e9999999999999999999999"', "", None),
    (bytes, '"!!"', "", no("bytes")),
    (bytes, '"é"', "", no("bytes")),
    (Path, 1, "", "must be a Path as a string, not int"),
    (Any, "1" + "0" * 400 + ".5", "", "inf is not a JSON number"),
    (Colour, '"blue"', "", "must be one of Colour, and this str is not"),
    (Colour, '["red"]', "", "must be one of Colour, and this list is not"),
    (Level, "1.0", "", "must be one of Level, and this float is not"),
    (Level, "true", "", "must be one of Level, and this bool is not"),
    (Literal[1], "true", "", "must be one of Literal[1], and this bool is not"),
    (Literal[True], "1", "", "must be one of Literal[True], and this int is not"),
    (Access, "4", "", "is no combination of Access"),
    (Access, "-1", "", "is no combination of Access"),
    (Access, "true", "", "must be a whole number, not bool"),
    (list[int], {}, "", "must be an array, not dict"),
    (list[int], [1, None], "[1]", "must be a whole number, not None"),
    (tuple[int, str], [1], "", "must be an array of 2, not of 1"),
    (tuple[int, str], [1, "a", 2], "", "must be an array of 2, not of 3"),
    (set[int], "{}", "", "must be an array, not dict"),
    (dict[str, int], [], "", "must be an object, not list"),
    (dict[str, int], {"a": 1.5}, '["a"]', "must be a whole number, not float"),
    (dict[int, int], {"a": 1}, '["a"]', "is a key that must be a whole number as a string"),
    (dict[int, int], {"01": 1}, '["01"]', "is a key that must be a whole number as a string"),
    (dict[int, int], {"٣": 1}, '["٣"]', "is a key that must be a whole number as a string"),
    (dict[int, int], {"9" * 5000: 1}, None, None),
    (dict[UUID, int], {"x": 1}, '["x"]', "is a key that " + no("UUID")),
    (Movie, {"titel": "M"}, '["titel"]', "is no part of Movie"),
    (Book, {"title": "M", "id": 3, "x": 1}, '["x"]', "is no part of Book"),
    (Book, {"title": "M"}, '["id"]', "is missing"),
    (Fraction, '"1/0"', "", no("Fraction")),
    (Fraction, '"1e999999999"', "", no("Fraction")),
    (Fraction, '"0.5"', "", no("Fraction")),
    (Fraction, '"' + "9" * 5000 + '"', "", no("Fraction")),
    (IPv4Address, '"10.0.0.256"', "", no("IPv4Address", "an")),
    (IPv4Network, '"10.0.0.1/8"', "", no("IPv4Network", "an")),
    (IPv6Interface, "3", "", "must be an IPv6Interface as a string, not int"),
    (collections.deque[int], [1, "2"], "[1]", "must be a whole number, not str"),
    (Counter[str], {"a": "2"}, '["a"]', "must be a whole number, not str"),
    (dict[Decimal, int], {"1.0": 1, "1.00": 2}, "", "has two keys that are the same"),
    (Never, "null", "", "there must be no value, and there is one: None"),
    (Line, [], "", "must be an object, not list"),
    (Line, {}, ".price", "is missing"),
    (Line, {"price": 1, "x": 1}, '["x"]', "is no part of Line"),
    (Order, {"lines": [{"price": "1"}]}, ".lines[0].price", "must be a float, not str"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("annotation", "plain", "path", "reason"),
    UNDECODABLE,
    ids=[f"{row[0]}{row[2]}: {row[3]}" for row in UNDECODABLE],
)
def test_json_that_is_not_of_the_type_is_undecodable_and_says_where(
    annotation, plain, path, reason
):
    error = undecodable(annotation, plain)
    assert path is None or error.path == path
    assert reason is None or error.reason == reason
    assert len(str(error)) < 500


class Refuser:
    pass


UNSUPPORTED = [
    (Iterator[int], "Iterator[int] cannot be carried as JSON"),
    (Counter[bool], "a key of type bool has no form as a string"),
    (Refuser, "Refuser cannot be carried as JSON; use an attrs class or a dataclass"),
    (complex, "complex cannot"),
    (collections.OrderedDict[str, int], "collections.OrderedDict[str, int] cannot"),
    (collections.defaultdict[str, int], "collections.defaultdict[str, int] cannot"),
    (list[Refuser], "Refuser cannot"),
    (T, "nothing says what the type variable T stands for"),
    (dict[float, int], "a key of type float has no form as a string"),
    (dict[bool, int], "a key of type bool has no form as a string"),
    (dict[tuple[int, int], int], "a key of type tuple[int, int] has no form as a string"),
    (dict[int | str, int], "a key of type int | str has no form as a string"),
    (dict[Literal[1, "1"], int], "a key of type Literal[1, '1'] has no form as a string"),
    (Literal[b"x"], "b'x' is not a string"),
    (Enum("Planet", {"EARTH": (1.0, 2.0)}), "(1.0, 2.0) is not a string"),
    (Literal[Colour.RED, "red"], "two members of Literal"),
    (collections.namedtuple("Bare", "x"), "Bare.x has no annotation"),  # noqa: PYI024
    (UUID | str, "the members of uuid.UUID | str cannot be told apart in JSON"),
]


@pytest.mark.parametrize(("annotation", "message"), UNSUPPORTED)
def test_a_type_that_cannot_be_carried_is_refused_when_the_queue_is_declared(annotation, message):
    with pytest.raises(InvalidQueue) as caught:
        value_codec(annotation, "the input of f (x.py:1)")
    assert str(caught.value).startswith("the input of f (x.py:1): ")
    assert message in str(caught.value)


def test_a_class_of_paths_of_another_system_is_refused():
    import pathlib

    with pytest.raises(InvalidQueue, match="WindowsPath cannot be carried"):
        codec_of(pathlib.WindowsPath)


def test_the_output_of_what_never_returns_can_be_declared():
    with pytest.raises(ValueRefused):
        codec_of(NoReturn).encode(None, "output")


def test_a_message_names_a_private_value_by_its_class_and_never_prints_a_long_one():
    error = refused(Literal["a"], "x" * 10_000)
    assert len(str(error)) < 200
    assert "secret" not in str(refused(int, "secret"))


def test_two_keys_that_are_one_in_json_are_refused():
    berlin = datetime(2024, 10, 27, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"))
    both = {berlin: 1, berlin.astimezone(UTC): 2}
    assert len(both) == 2
    assert refused(dict[datetime, int], both).reason == "has two keys that are the same as strings"
