"""What is in a value is in no text that m25 makes of its refusal: it says what, where, and why."""

from __future__ import annotations

import json
import traceback
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, Flag
from typing import Any, Literal, NamedTuple, TypedDict
from uuid import UUID

import attrs
import pytest

from m25 import ValueRefused
from m25._codec import Codec, Undecodable, error_codec, value_codec

SECRET = "4929 1234 5678 9012"


class Card(Enum):
    VISA = "visa"
    OTHER = "other"


class Access(Flag):
    READ = 1


class Pair(NamedTuple):
    a: int
    b: Card


class Options(TypedDict):
    card: Card


@attrs.frozen
class Payment:
    card: Card
    at: datetime | None = None


@attrs.frozen
class Refund:
    card: Literal["visa"]


class Declined(Exception):
    pass


@attrs.frozen
class Spoken:
    """A class whose `repr` tells all."""

    secret: str


def texts_of(error: BaseException | None) -> Iterator[str]:
    """Everything that a log or an error page may show of an exception and of those behind it."""
    while error is not None:
        yield str(error)
        yield repr(error)
        yield "".join(traceback.format_exception(error))
        error = error.__cause__ or error.__context__


def assert_silent(error: BaseException, secret: str = SECRET) -> None:
    for text in texts_of(error):
        assert secret not in text


LEAVES = [
    int, float, bool, None, datetime, date, time, timedelta, UUID, Decimal, bytes, Card, Access,
    Literal["visa", 1], Card | Literal["auto"], Card | int, UUID | None, Payment, Payment | Refund,
    Pair, Options, list[int], dict[str, int],
]  # fmt: skip


@pytest.mark.parametrize("annotation", LEAVES, ids=str)
def test_what_is_in_the_table_is_not_in_the_text_of_why_it_cannot_be_read(annotation: Any):
    for kind, plain in [
        (annotation, SECRET),
        (list[annotation], [SECRET]),
        (dict[str, annotation], {"card": SECRET}),
        (tuple[annotation, int], [SECRET, 3]),
    ]:
        with pytest.raises(Undecodable) as caught:
            value_codec(kind, "the input").decode(json.dumps(plain))
        assert_silent(caught.value)
        assert caught.value.reason


@pytest.mark.parametrize("annotation", LEAVES, ids=str)
def test_what_was_enqueued_is_not_in_the_text_of_why_it_was_refused(annotation: Any):
    for kind, value in [
        (annotation, SECRET),
        (annotation, Spoken(SECRET)),
        (list[annotation], [SECRET]),
        (dict[str, annotation], {"card": SECRET}),
        (tuple[annotation, int], (SECRET, 3)),
    ]:
        with pytest.raises(ValueRefused) as caught:
            value_codec(kind, "the input").encode(value, "input")
        assert_silent(caught.value)


@pytest.mark.parametrize(
    ("annotation", "plain", "path", "reason"),
    [
        (Card, "master", "", "must be one of Card, and this str is not"),
        (Payment, {"card": "master"}, ".card", "must be one of Card, and this str is not"),
        (UUID, "x", "", "must be a UUID as a string, and this string is none"),
        (datetime, "2024-01-01T00:00:00", "", "is a datetime without a time zone"),
        (dict[int, int], {"x": 1}, '["x"]', "is a key that must be a whole number as a string"),
    ],
)
def test_the_text_says_what_was_expected_and_where(annotation, plain, path, reason):
    with pytest.raises(Undecodable) as caught:
        value_codec(annotation, "the input").decode(json.dumps(plain))
    assert caught.value.path == path
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    "value",
    [SECRET + "\0", SECRET + "\ud800", {"k": [SECRET + "\0"]}, {"k": (SECRET,)}, {"k": {SECRET}}],
    ids=ascii,
)
def test_what_json_or_postgresql_cannot_hold_is_not_in_the_text(value):
    for annotation in (Any, str) if isinstance(value, str) else (Any, dict[str, Any]):
        with pytest.raises(ValueRefused) as caught:
            value_codec(annotation, "the input").encode(value, "input")
        assert_silent(caught.value)
        assert_silent(caught.value, "\\ud800")


@pytest.mark.parametrize(
    "text", ["[4929", '["4929', '{"4929": 4929', '"\\4929"', "4929" * 2000, b'"4929\xff"', "4929 1"]
)
def test_text_that_is_no_json_is_not_quoted(text):
    with pytest.raises(Undecodable) as caught:
        value_codec(Any, "the input").decode(text)
    assert_silent(caught.value, "4929")


def test_a_number_that_is_none_is_not_quoted():
    digits = "4929"
    with pytest.raises(ValueRefused, match="is not a finite number") as caught:
        value_codec(Decimal, "the input").encode(Decimal(f"NaN{digits}"), "input")
    assert_silent(caught.value, "NaN" + digits)


def test_a_key_is_in_the_path_and_an_object_as_a_key_is_there_by_its_class():
    with pytest.raises(ValueRefused) as caught:
        value_codec(dict[str, int], "the input").encode({"card": "x"}, "input")
    assert caught.value.path == '["card"]'
    with pytest.raises(ValueRefused) as caught:
        value_codec(dict[str, int], "the input").encode({Spoken(SECRET): 1}, "input")
    assert caught.value.path == "[<Spoken>]"
    assert_silent(caught.value)


def test_what_a_codec_by_hand_or_a_class_raises_is_named_and_is_the_cause_and_is_not_quoted():
    def refuse(_: object) -> Any:
        raise ValueError(SECRET)

    @attrs.frozen
    class Refusing:
        card: str = attrs.field(validator=lambda _self, _field, value: refuse(value))

    with pytest.raises(ValueRefused) as refused:
        Codec(refuse, refuse).encode(1, "input")
    with pytest.raises(Undecodable) as by_hand:
        Codec(refuse, refuse).decode("1")
    with pytest.raises(Undecodable) as by_class:
        value_codec(Refusing, "the input").decode('{"card": "x"}')
    for caught in (refused.value, by_hand.value, by_class.value):
        assert SECRET not in str(caught)
        assert caught.reason == "ValueError"
        assert SECRET in "".join(texts_of(caught.__cause__))


def test_a_declared_error_is_not_quoted():
    codec = error_codec((Declined,), "the errors")
    for plain in (
        {"type": SECRET, "args": []},
        {"type": "Declined", "args": SECRET},
        {"type": "Declined", SECRET: []},
    ):
        with pytest.raises(Undecodable) as caught:
            codec.decode(json.dumps(plain))
        assert_silent(caught.value)
    with pytest.raises(ValueRefused) as refused:
        codec.encode(Declined({SECRET}), "error")
    assert_silent(refused.value)
