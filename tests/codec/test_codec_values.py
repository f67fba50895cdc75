"""What each type is in JSON, and that it comes back."""

from __future__ import annotations

import collections
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone
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
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import (
    Annotated,
    Any,
    Final,
    Literal,
    Optional,
    Union,
)
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from sample_values import (
    AT,
    BERLIN,
    ID,
    Access,
    Book,
    Colour,
    Level,
    Line,
    Loose,
    Mixed,
    Movie,
    Numbers,
    Order,
    OtherId,
    Page,
    Point,
    Several,
    Size,
    UserId,
    Visit,
    Word,
    codec_of,
    refused,
    there_and_back,
    undecodable,
)

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


def test_a_field_that_has_a_default_may_be_missing_from_what_was_stored_before_it_was_added():
    assert codec_of(Line).decode('{"price": 1}') == Line(1.0, "")


def test_a_set_of_classes_has_one_order_whatever_order_it_was_made_in():
    lines = [Line(float(n)) for n in range(20)]
    codec = codec_of(frozenset[Line])
    assert codec.encode(frozenset(lines), "input") == codec.encode(frozenset(lines[::-1]), "input")
    assert there_and_back(frozenset[Line], frozenset(lines)) == frozenset(lines)
