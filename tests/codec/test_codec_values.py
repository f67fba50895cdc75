"""What each type is in JSON, and what is refused, in both directions, with the path to blame."""

from __future__ import annotations

import collections
import json
import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, Flag, IntEnum, StrEnum, auto
from fractions import Fraction
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import (
    Annotated,
    Any,
    Final,
    Generic,
    Literal,
    NamedTuple,
    Never,
    NewType,
    NoReturn,
    NotRequired,
    Optional,
    Required,
    TypedDict,
    TypeVar,
    Union,
)
from uuid import UUID
from zoneinfo import ZoneInfo

import attrs
import pytest
import typing_extensions

from m25 import ValueRefused
from m25._codec import Codec, Undecodable, value_codec
from m25.errors import InvalidQueue

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

FORMS = [
    (str, "grüße \U0001f600 \\u0000", '"grüße \U0001f600 \\\\u0000"'),
    (str, "", '""'),
    (int, -3, "-3"),
    (int, 10**100, "1" + "0" * 100),
    (bool, True, "true"),
    (None, None, "null"),
    (float, 1.5, "1.5"),
    (float, 5e-324, "5e-324"),
    (datetime, AT, '"2024-02-29T12:30:01.000005+00:00"'),
    (date, date(1, 1, 1), '"0001-01-01"'),
    (time, time(23, 59, 59, 999999), '"23:59:59.999999"'),
    (
        time,
        time(1, 2, tzinfo=timezone(timedelta(hours=5, minutes=45))),
        '"01:02:00+05:45"',
    ),
    (timedelta, timedelta(seconds=-1, microseconds=500000), '"-0.5"'),
    (timedelta, timedelta.max, '"86399999999999.999999"'),
    (timedelta, timedelta.min, '"-86399999913600"'),
    (UUID, ID, f'"{ID}"'),
    (Decimal, Decimal("1.10"), '"1.10"'),
    (Decimal, Decimal("-1E+400"), '"-1E+400"'),
    (bytes, b"\x00\xff", '"AP8="'),
    (bytes, b"", '""'),
    (Path, Path("/a/b"), '"/a/b"'),
    (PurePosixPath, PurePosixPath("c"), '"c"'),
    (PureWindowsPath, PureWindowsPath("c:/x"), '"c:\\\\x"'),
    (PurePath, Path("c"), '"c"'),
    (Any, {"a": [1, None, True, 1.5]}, '{"a":[1,null,true,1.5]}'),
    (Colour, Colour.GREEN, '"green"'),
    (Colour, Colour.CRIMSON, '"red"'),
    (Level, Level.HIGH, "2"),
    (Size, Size.L, '"l"'),
    (Word, Word.YES, '"yes"'),
    (Mixed, Mixed.NOTHING, "null"),
    (Access, Access.READ | Access.WRITE, "3"),
    (Literal["a", 1, None], 1, "1"),  # noqa: PYI061
    (Literal[Colour.RED, "x"], Colour.RED, '"red"'),
    (list[int], [1, 2], "[1,2]"),
    (list, ["a", 1], '["a",1]'),
    (Sequence[int], [1], "[1]"),
    (tuple[int, ...], (1, 2), "[1,2]"),
    (tuple[int, str], (1, "a"), '[1,"a"]'),
    (tuple[()], (), "[]"),
    (tuple, (1, "a"), '[1,"a"]'),
    (set[int], {3, 1, 2}, "[1,2,3]"),
    (frozenset[str], frozenset({"b", "a"}), '["a","b"]'),
    (dict[str, int], {"a": 1}, '{"a":1}'),
    (dict, {"a": [None]}, '{"a":[null]}'),
    (Mapping[str, int], {"a": 1}, '{"a":1}'),
    (dict[int, str], {-1: "a"}, '{"-1":"a"}'),
    (dict[UUID, int], {ID: 1}, f'{{"{ID}":1}}'),
    (dict[Colour, int], {Colour.RED: 1}, '{"red":1}'),
    (dict[Level, int], {Level.LOW: 1}, '{"1":1}'),
    (dict[date, int], {date(2024, 1, 2): 1}, '{"2024-01-02":1}'),
    (dict[Literal["a", "b"], int], {"b": 1}, '{"b":1}'),
    (Point, Point(1, 2.5), "[1,2.5]"),
    (Movie, {"title": "M"}, '{"title":"M"}'),
    (Movie, {"title": "M", "year": 1931}, '{"title":"M","year":1931}'),
    (Loose, {"name": "x"}, '{"name":"x"}'),
    (UserId, 3, "3"),
    (OtherId, 3, "3"),
    (Annotated[int, "note"], 3, "3"),
    (list[Annotated[int, ["no hash"]]], [3], "[3]"),
    (Final[int], 3, "3"),
    (Optional[int], None, "null"),  # noqa: UP045
    (Union[int, str], "a", '"a"'),  # noqa: UP007
    (object, {"a": [1, None]}, '{"a":[1,null]}'),
    (dict[str, object], {"a": [1, None]}, '{"a":[1,null]}'),
    (list[object], ["a", 1.5], '["a",1.5]'),
    (Fraction, Fraction(-3, 4), '"-3/4"'),
    (Fraction, Fraction(2), '"2"'),
    (IPv4Address, IPv4Address("10.0.0.1"), '"10.0.0.1"'),
    (IPv6Address, IPv6Address("fe80::1%eth0"), '"fe80::1%eth0"'),
    (IPv4Network, IPv4Network("10.0.0.0/8"), '"10.0.0.0/8"'),
    (IPv6Network, IPv6Network("fe80::/64"), '"fe80::/64"'),
    (IPv4Interface, IPv4Interface("10.0.0.1/8"), '"10.0.0.1/8"'),
    (IPv6Interface, IPv6Interface("fe80::1%eth0/64"), '"fe80::1%eth0/64"'),
    (dict[IPv4Address, int], {IPv4Address("10.0.0.1"): 1}, '{"10.0.0.1":1}'),
    (collections.deque[int], collections.deque([1, 2]), "[1,2]"),
    (collections.deque, collections.deque([1, "a"]), '[1,"a"]'),
    (Counter[str], Counter("aba"), '{"a":2,"b":1}'),
    (Counter[int], Counter([3, 3]), '{"3":2}'),
    (Counter, Counter("a"), '{"a":1}'),
    (Iterable[int], [1], "[1]"),
    (Collection[int], [1], "[1]"),
    (Iterable, [1, "a"], '[1,"a"]'),
    (Book, {"title": "M", "id": 3}, '{"title":"M","id":3}'),
    (Book, {"title": "M", "id": 3, "year": 1931}, '{"title":"M","id":3,"year":1931}'),
    (Page[str], {"item": "x", "number": 1}, '{"item":"x","number":1}'),
    (Numbers, [1], "[1]"),
    (Several[int], [1], "[1]"),
    (Line, Line(1.0, "a"), '{"price":1.0,"name":"a"}'),
    (Order, Order([Line(1.0)]), '{"lines":[{"price":1.0,"name":""}],"notes":{}}'),
]


@pytest.mark.parametrize(
    ("annotation", "value", "text"), FORMS, ids=[f"{kind}-{text[:20]}" for kind, _, text in FORMS]
)
def test_a_value_has_its_form_in_json_and_comes_back_equal_and_of_its_class(
    annotation, value, text
):
    codec = codec_of(annotation)
    assert codec.encode(value, "input") == text
    again = codec.decode(text)
    assert again == value
    assert type(again) is type(value) or isinstance(value, PurePath)
    assert codec.decode(text.encode()) == value
    assert codec.decode(f" {text}\n") == value


def test_a_float_takes_whole_numbers_that_it_can_hold():
    assert codec_of(float).encode(3, "input") == "3.0"
    assert type(codec_of(float).decode("3")) is float
    assert refused(float, 2**53 + 1).reason == "is an integer that a float cannot hold exactly"
    assert undecodable(float, 10**400).reason == "is more than a float can hold"


@pytest.mark.parametrize("value", [1e16, 1e22, 1e23, -1e23, 1.7976931348623157e308, 2.0**1000])
def test_a_float_that_postgresql_writes_out_as_an_integer_comes_back_as_itself(value):
    written_out = format(Decimal(repr(value)), "f")
    again = codec_of(float).decode(written_out)
    assert again == value
    assert type(again) is float


@pytest.mark.parametrize("annotation", [Any, int | float, dict[str, Any]])
@pytest.mark.parametrize("value", [1e16, 1e23, -1e300])
def test_a_large_float_without_a_type_is_written_as_the_integer_that_it_is(annotation, value):
    if annotation == dict[str, Any]:
        value = {"n": value}
    codec = codec_of(annotation)
    text = codec.encode(value, "input")
    assert "e" not in text
    assert codec.decode(text) == value


def test_a_datetime_of_any_zone_comes_back_as_the_same_instant_in_utc():
    berlin = datetime(2024, 7, 1, 12, tzinfo=ZoneInfo("Europe/Berlin"))
    again = there_and_back(datetime, berlin)
    assert again == berlin
    assert again.tzinfo is UTC


BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize("fold", [0, 1])
@pytest.mark.parametrize(
    "at",
    [
        datetime(2024, 10, 27, 2, 30, tzinfo=BERLIN),
        datetime(2024, 3, 31, 2, 30, tzinfo=BERLIN),
        datetime(2024, 7, 1, 12, tzinfo=BERLIN),
    ],
    ids=["repeated", "skipped", "plain"],
)
def test_a_datetime_in_an_hour_that_is_repeated_or_skipped_is_the_same_instant(at, fold):
    at = at.replace(fold=fold)
    in_utc = at.astimezone(UTC)
    for annotation, value, again in [
        (datetime, at, in_utc),
        (list[datetime | None], [at], [in_utc]),
        (dict[datetime, int], {at: 1}, {in_utc: 1}),
        (set[datetime], {at}, {in_utc}),
        (Visit, Visit(at), Visit(in_utc)),
    ]:
        assert there_and_back(annotation, value) == again
    assert there_and_back(datetime, at).timestamp() == at.timestamp()


def test_a_set_with_two_datetimes_of_one_instant_is_refused_and_loses_none():
    at = datetime(2024, 10, 27, 2, 30, tzinfo=BERLIN)
    both = {at, at.astimezone(UTC)}
    assert len(both) == 2
    assert refused(set[datetime], both).reason == "has two items that are the same in JSON"
    visits = frozenset(map(Visit, both))
    assert len(visits) == 2
    assert refused(frozenset[Visit], visits).reason == "has two items that are the same in JSON"


def no(kind: str, article: str = "a") -> str:
    return f"must be {article} {kind} as a string, and this string is none"


NUL = "holds the character NUL, which PostgreSQL cannot"
LONE = "holds a lone surrogate, which is no character"

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


def test_a_field_that_has_a_default_may_be_missing_from_what_was_stored_before_it_was_added():
    assert codec_of(Line).decode('{"price": 1}') == Line(1.0, "")


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


def test_two_keys_that_are_one_in_json_are_refused():
    berlin = datetime(2024, 10, 27, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"))
    both = {berlin: 1, berlin.astimezone(UTC): 2}
    assert len(both) == 2
    assert refused(dict[datetime, int], both).reason == "has two keys that are the same as strings"


def test_a_set_of_classes_has_one_order_whatever_order_it_was_made_in():
    lines = [Line(float(n)) for n in range(20)]
    codec = codec_of(frozenset[Line])
    assert codec.encode(frozenset(lines), "input") == codec.encode(frozenset(lines[::-1]), "input")
    assert there_and_back(frozenset[Line], frozenset(lines)) == frozenset(lines)


def test_a_message_names_a_private_value_by_its_class_and_never_prints_a_long_one():
    error = refused(Literal["a"], "x" * 10_000)
    assert len(str(error)) < 200
    assert "secret" not in str(refused(int, "secret"))


def test_a_codec_by_hand_says_which_of_its_values_cannot_be_kept():
    codec = Codec(lambda value: {"n": [value]}, lambda plain: plain["n"][0])
    assert codec.decode(codec.encode(3, "input")) == 3
    with pytest.raises(ValueRefused) as caught:
        codec.encode(math.inf, "input")
    assert caught.value.path == '["n"][0]'
    assert refused_by_hand(codec, {1}).reason == "set is not a JSON type"
    assert undecodable_by_hand(codec, "{}").reason == "KeyError"
    assert undecodable_by_hand(codec, '{"n": []}').reason == "IndexError"


def refused_by_hand(codec, value):
    with pytest.raises(ValueRefused) as caught:
        codec.encode(value, "input")
    return caught.value


def undecodable_by_hand(codec, text):
    with pytest.raises(Undecodable) as caught:
        codec.decode(text)
    return caught.value


def test_a_codec_by_hand_may_return_what_json_dumps_takes_however_many_there_are():
    codec = Codec(lambda value: [(Level.LOW, Size.S)] * value, len)
    assert codec.decode(codec.encode(500, "input")) == 500
    assert codec.encode(1, "input") == '[[1,"s"]]'


def test_what_a_codec_by_hand_raises_is_the_cause():
    def fail(_):
        raise LookupError("no such thing")

    codec = Codec(fail, fail)
    error = refused_by_hand(codec, 1)
    assert error.reason == "LookupError"
    assert isinstance(error.__cause__, LookupError)
    assert isinstance(undecodable_by_hand(codec, "1").__cause__, LookupError)


def test_a_codec_by_hand_does_not_swallow_a_cancellation():
    def fail(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Codec(fail, fail).decode("1")
