"""Generated values come back equal: from our own text, and from what PostgreSQL makes of it."""

from __future__ import annotations

import contextlib
import json
import string
from collections import Counter, deque
from collections.abc import Collection, Iterable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from typing import Any, Literal, NamedTuple, TypedDict
from uuid import UUID

import attrs
import psycopg
import pytest
import typing_extensions
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from m25 import ValueRefused
from m25._codec import Undecodable, value_codec
from support.thorough import thorough, tries

pytestmark = thorough

#: The same examples in every run; a failure is not kept, it is found again.
steady = settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=tries(25, 5),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


class Colour(Enum):
    RED = "red"
    BLUE = 2


class Pair(NamedTuple):
    left: int
    right: str | None


class Options(TypedDict, total=False):
    size: int
    at: datetime


class Host(typing_extensions.TypedDict):
    at: typing_extensions.ReadOnly[IPv4Address]
    names: typing_extensions.NotRequired[list[str]]


@attrs.frozen
class Circle:
    radius: float
    colour: Colour = Colour.RED


@attrs.frozen
class Square:
    side: Decimal
    tags: frozenset[str] = frozenset()


@attrs.frozen
class Drawing:
    id: UUID
    made: datetime
    shapes: list[Circle | Square]
    by_day: dict[date, timedelta]
    by_number: dict[int, Pair]
    options: Options
    raw: bytes
    opens: time | None
    mode: Literal["fast", 1, True]
    ratio: float | int
    notes: Any
    parent: Drawing | None = None


TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
#: What jsonb hands back must be read by Python, which stops at 4,300 digits.
INTEGERS = st.integers(-(10**4299), 10**4299) | st.integers()
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
AWARE = st.datetimes(
    datetime(1, 1, 2),  # noqa: DTZ001 - the zone is another argument
    datetime(9999, 12, 30),  # noqa: DTZ001
    timezones=st.timezones() | st.just(UTC),
).map(lambda at: at.astimezone(UTC))
DECIMALS = st.decimals(allow_nan=False, allow_infinity=False)
PLAIN = st.recursive(
    st.none() | st.booleans() | INTEGERS | FLOATS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=10,
)
PAIRS = st.builds(Pair, INTEGERS, st.none() | TEXT)
SHAPES = st.builds(Circle, FLOATS, st.sampled_from(Colour)) | st.builds(
    Square, DECIMALS, st.frozensets(TEXT, max_size=4)
)
OPTIONS = st.fixed_dictionaries({}, optional={"size": INTEGERS, "at": AWARE})


FRACTIONS = st.builds(Fraction, INTEGERS, st.integers(1, 10**100))
ADDRESSES_4 = st.ip_addresses(v=4)
ADDRESSES_6 = st.ip_addresses(v=6) | st.builds(
    lambda address, zone: IPv6Address(f"{address}%{zone}"),
    st.ip_addresses(v=6),
    st.text(string.ascii_letters + string.digits, min_size=1, max_size=4),
)
NETWORKS_4 = st.builds(
    lambda address, length: IPv4Network((address, length), strict=False),
    ADDRESSES_4,
    st.integers(0, 32),
)
NETWORKS_6 = st.builds(
    lambda address, length: IPv6Network((address, length), strict=False),
    st.ip_addresses(v=6),
    st.integers(0, 128),
)
INTERFACES_4 = st.builds(
    lambda address, length: IPv4Interface((address, length)), ADDRESSES_4, st.integers(0, 32)
)
INTERFACES_6 = st.builds(
    lambda address, length: IPv6Interface(f"{address}/{length}"), ADDRESSES_6, st.integers(0, 128)
)
DEQUES = st.builds(deque, st.lists(INTEGERS, max_size=4))
COUNTERS = st.builds(Counter, st.dictionaries(TEXT, INTEGERS, max_size=4))
HOSTS = st.fixed_dictionaries({"at": ADDRESSES_4}, optional={"names": st.lists(TEXT, max_size=3)})


def drawings(parents: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.builds(
        Drawing,
        id=st.uuids(),
        made=AWARE,
        shapes=st.lists(SHAPES, max_size=3),
        by_day=st.dictionaries(st.dates(), st.timedeltas(), max_size=2),
        by_number=st.dictionaries(INTEGERS, PAIRS, max_size=2),
        options=OPTIONS,
        raw=st.binary(max_size=20),
        opens=st.none() | st.times(),
        mode=st.sampled_from(["fast", 1, True]),
        ratio=FLOATS | INTEGERS,
        notes=PLAIN,
        parent=parents,
    )


DRAWINGS = drawings(st.none() | drawings(st.none()))

KINDS = [
    (str, TEXT),
    (int, INTEGERS),
    (float, FLOATS),
    (float | None, FLOATS | st.none()),
    (int | float, INTEGERS | FLOATS),
    (datetime, AWARE),
    (date, st.dates()),
    (time, st.times()),
    (timedelta, st.timedeltas()),
    (UUID, st.uuids()),
    (Decimal, DECIMALS),
    (bytes, st.binary()),
    (Fraction, FRACTIONS),
    (IPv4Address, ADDRESSES_4),
    (IPv6Address, ADDRESSES_6),
    (IPv4Network, NETWORKS_4),
    (IPv6Network, NETWORKS_6),
    (IPv4Interface, INTERFACES_4),
    (IPv6Interface, INTERFACES_6),
    (dict[IPv6Address, set[IPv4Network]], st.dictionaries(ADDRESSES_6, st.sets(NETWORKS_4))),
    (deque[int], DEQUES),
    (Counter[str], COUNTERS),
    (Iterable[Fraction], st.lists(FRACTIONS, max_size=4)),
    (Collection[deque[int]], st.lists(DEQUES, max_size=4)),
    (deque[int] | Counter[str] | None, DEQUES | COUNTERS | st.none()),
    (Host, HOSTS),
    (Any, PLAIN),
    (object, PLAIN),
    (dict[str, object], st.dictionaries(TEXT, PLAIN, max_size=3)),
    (dict[str, Any], st.dictionaries(TEXT, PLAIN, max_size=3)),
    (set[float], st.sets(FLOATS, max_size=5)),
    (tuple[int, str], st.tuples(INTEGERS, TEXT)),
    (dict[datetime, int], st.dictionaries(AWARE, INTEGERS, max_size=3)),
    (Circle | Square, SHAPES),
    (Pair | Options | None, PAIRS | OPTIONS | st.none()),
    (Drawing, DRAWINGS),
]


@pytest.fixture
def stored(server):
    """Puts JSON text into a jsonb, and reads it again."""
    with psycopg.connect(server, autocommit=True) as connection:

        def store(text: str) -> str:
            row = connection.execute("select %s::jsonb::text", [text]).fetchone()
            assert row is not None
            return row[0]

        yield store


@pytest.mark.parametrize(("annotation", "values"), KINDS, ids=[str(kind) for kind, _ in KINDS])
def test_what_goes_into_postgresql_comes_back_equal(stored, annotation, values):
    codec = value_codec(annotation, "the input")

    @steady
    @given(values)
    def check(value):
        text = codec.encode(value, "input")
        for form in (text, stored(text)):
            again = codec.decode(form)
            assert again == value
            assert type(again) is type(value) or isinstance(value, float)

    check()


@pytest.mark.parametrize(
    ("annotation", "value", "again"),
    [
        (Any, 1e16, int(1e16)),
        (Any, 1e23, int(1e23)),
        (int | float, -1e16, -int(1e16)),
        (Any, -0.0, 0.0),
        (float, -0.0, 0.0),
        (int | float, -0.0, 0.0),
        (int | float, 9e15, 9e15),
        (float, 1e23, 1e23),
    ],
)
def test_a_number_comes_back_equal_from_postgresql_if_not_always_as_the_same(
    stored, annotation, value, again
):
    codec = value_codec(annotation, "the input")
    found = codec.decode(stored(codec.encode(value, "input")))
    assert found == value
    assert repr(found) == repr(again)


@steady
@given(st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.timezones()))  # noqa: DTZ001
def test_a_datetime_of_any_zone_and_hour_comes_back_as_the_same_instant(at):
    codec = value_codec(datetime, "the input")
    again = codec.decode(codec.encode(at, "input"))
    assert again.tzinfo is UTC
    assert again - datetime(2000, 1, 1, tzinfo=UTC) == at - datetime(2000, 1, 1, tzinfo=UTC)
    assert again == at.astimezone(UTC)


@pytest.mark.parametrize(("annotation", "_values"), KINDS, ids=[str(kind) for kind, _ in KINDS])
def test_any_other_json_is_decoded_to_what_is_encoded_again_or_is_undecodable(annotation, _values):
    codec = value_codec(annotation, "the input")

    @steady
    @given(PLAIN)
    def check(plain):
        try:
            value = codec.decode(json.dumps(plain))
        except Undecodable:
            return
        text = codec.encode(value, "input")
        assert codec.decode(text) == value

    check()


@pytest.mark.parametrize(("annotation", "_values"), KINDS, ids=[str(kind) for kind, _ in KINDS])
def test_a_value_of_another_type_is_refused_or_comes_back_equal(annotation, _values):
    codec = value_codec(annotation, "the input")
    anything = st.one_of(
        PLAIN, FLOATS, st.floats(), AWARE, st.datetimes(), st.dates(), st.times(), DECIMALS,
        FRACTIONS, ADDRESSES_6, NETWORKS_4, INTERFACES_4, st.sets(INTEGERS), COUNTERS, DEQUES,
        st.builds(deque, st.lists(INTEGERS), st.integers(0, 4)), HOSTS, PAIRS, SHAPES, st.text(),
        st.binary(), st.complex_numbers(),
    )  # fmt: skip

    @steady
    @given(anything)
    def check(value):
        try:
            text = codec.encode(value, "input")
        except ValueRefused:
            return
        assert codec.decode(text) == value

    check()


@steady
@given(st.text(string.printable + "\0\ud800é") | st.binary())
def test_hostile_text_is_decoded_or_undecodable_and_never_anything_else(text):
    for annotation in (Any, Drawing, Circle | Square, dict[int, float]):
        with contextlib.suppress(Undecodable):
            value_codec_of(annotation).decode(text)


def value_codec_of(annotation, _made={}):  # noqa: B006
    key = str(annotation)
    if key not in _made:
        _made[key] = value_codec(annotation, "the input")
    return _made[key]
