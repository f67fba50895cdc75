"""Declared errors: what is raised in the worker comes back equal, or is refused clearly."""

from __future__ import annotations

import dataclasses
import json
from uuid import UUID

import attrs
import pytest

from m25 import ValueRefused
from m25._codec import Undecodable, error_codec
from m25.errors import InvalidQueue

ID = UUID("0190d3a0-0000-7000-8000-000000000001")


@attrs.frozen
class Declined(Exception):
    reason: str
    transfer: UUID
    codes: frozenset[int] = frozenset()


@attrs.define(kw_only=True)
class KeywordOnly(Exception):
    amount: int
    hint: str | None = None


@dataclasses.dataclass
class Moved(Exception):
    to: str
    hops: list[int] = dataclasses.field(default_factory=list)


class NoFunds(Exception):
    pass


class Worse(NoFunds):
    pass


class Stranger(Exception):
    pass


class Code(Exception):
    def __init__(self, code):
        super().__init__(code)
        self.code = code


class Rewording(Exception):
    def __init__(self, code):
        super().__init__(f"code {code}")


class TwoForOne(Exception):
    def __init__(self, user, code):
        super().__init__(f"{user}: {code}")


class KeywordArgument(Exception):
    def __init__(self, *, code):
        super().__init__(code)


class Forgetful(Exception):
    def __init__(self, code, detail=None):
        super().__init__(code)
        self.detail = detail


class Doubling(Exception):
    def __new__(cls, *args):
        return super().__new__(cls, *args)

    def __init__(self, amount):
        super().__init__(amount * 2)


def codec_of(*errors):
    return error_codec(errors, "the errors of f (x.py:1)")


def refused(codec, error):
    with pytest.raises(ValueRefused) as caught:
        codec.encode(error, "error")
    return caught.value


@pytest.mark.parametrize(
    ("error", "plain"),
    [
        (
            Declined("why", ID, frozenset({2, 1})),
            {"type": "Declined", "fields": {"reason": "why", "transfer": str(ID), "codes": [1, 2]}},
        ),
        (
            KeywordOnly(amount=3),
            {"type": "KeywordOnly", "fields": {"amount": 3, "hint": None}},
        ),
        (Moved("there"), {"type": "Moved", "fields": {"to": "there", "hops": []}}),
        (NoFunds(), {"type": "NoFunds", "args": []}),
        (NoFunds("a", None, {"k": [1.5]}), {"type": "NoFunds", "args": ["a", None, {"k": [1.5]}]}),
        (Code(3), {"type": "Code", "args": [3]}),
        (ValueError("bad"), {"type": "ValueError", "args": ["bad"]}),
        (KeyError("k"), {"type": "KeyError", "args": ["k"]}),
        (TimeoutError(110, "late"), {"type": "TimeoutError", "args": [110, "late"]}),
    ],
    ids=lambda each: type(each).__name__,
)  # fmt: skip
def test_an_error_comes_back_equal(error, plain):
    codec = codec_of(type(error), Stranger)
    text = codec.encode(error, "error")
    assert json.loads(text) == plain
    again = codec.decode(text)
    assert type(again) is type(error)
    assert again.args == error.args or attrs.has(type(error)) or dataclasses.is_dataclass(error)
    assert vars(again) == vars(error)
    assert codec.encode(again, "error") == text
    if attrs.has(type(error)):
        assert attrs.asdict(again) == attrs.asdict(error)


def test_an_error_that_was_raised_and_noted_on_its_way_is_the_same_error():
    codec = codec_of(NoFunds, KeywordOnly)
    for error in (NoFunds("x"), KeywordOnly(amount=3)):
        with pytest.raises(type(error)) as raised:
            raise error from ValueError("cause")
        raised.value.add_note("seen by the logger")
        assert type(codec.decode(codec.encode(raised.value, "error"))) is type(error)


def test_an_error_that_is_not_declared_itself_is_refused():
    codec = codec_of(NoFunds)
    assert refused(codec, Worse("x")).reason == (
        "Worse is not declared itself, only a class that it derives from"
    )
    assert refused(codec, Stranger("x")).reason == "Stranger is not declared"
    both = codec_of(NoFunds, Worse)
    assert type(both.decode(both.encode(Worse("x"), "error"))) is Worse


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Rewording(3), "Rewording would not come back equal from its args"),
        (TwoForOne("u", 3), "TwoForOne cannot be made of its args: TypeError"),
        (KeywordArgument(code=3), "KeywordArgument cannot be made of its args: TypeError"),
        (Forgetful(3, "lost"), "Forgetful would not come back equal from its args"),
        (Doubling(2), "Doubling would not come back equal from its args"),
        (OSError(2, "no such file", "name"), "FileNotFoundError is not declared itself"),
        (FileNotFoundError(2, "none", "name"), "FileNotFoundError would not come back equal"),
    ],
    ids=lambda each: type(each).__name__,
)  # fmt: skip
def test_an_error_that_its_args_do_not_make_again_is_refused(error, reason):
    cls = OSError if reason.startswith("FileNotFoundError is not") else type(error)
    assert refused(codec_of(cls), error).reason.startswith(reason)


def test_an_attribute_that_is_not_in_its_args_would_be_lost_and_is_refused():
    error = NoFunds("x")
    error.balance = 3
    assert "would not come back equal" in refused(codec_of(NoFunds), error).reason
    assert codec_of(Forgetful).encode(Forgetful(3), "error")


@pytest.mark.parametrize(
    ("error", "path"),
    [
        (NoFunds("a", {1}), ".args[1]"),
        (NoFunds({"k": (1,)}), '.args[0]["k"]'),
        (NoFunds("\0"), ".args[0]"),
        (NoFunds(float("nan")), ".args[0]"),
        (Declined(3, ID), ".reason"),
        (Declined("\ud800", ID), ".reason"),
        (Moved("x", [1, "2"]), ".hops[1]"),
    ],
)
def test_what_cannot_be_kept_is_refused_with_its_path(error, path):
    refusal = refused(codec_of(NoFunds, Declined, Moved), error)
    assert refusal.path == path
    assert str(refusal).startswith(f"error{path}: ")


@pytest.mark.parametrize(
    ("plain", "path"),
    [
        ([], ""),
        ({}, '["type"]'),
        ({"type": "Gone", "args": []}, '["type"]'),
        ({"type": ["NoFunds"], "args": []}, '["type"]'),
        ({"type": "NoFunds"}, ""),
        ({"type": "NoFunds", "args": [], "more": 1}, ""),
        ({"type": "NoFunds", "fields": {}}, ""),
        ({"type": "NoFunds", "args": {}}, ".args"),
        ({"type": "Code", "args": []}, ".args"),
        ({"type": "Moved", "fields": {}}, ".to"),
        ({"type": "Moved", "fields": {"to": 3}}, ".to"),
    ],
)
def test_json_of_no_declared_error_is_undecodable(plain, path):
    with pytest.raises(Undecodable) as caught:
        codec_of(NoFunds, Code, Moved).decode(json.dumps(plain))
    assert caught.value.path == path


def test_errors_that_cannot_be_told_apart_or_carried_are_refused_when_declared():
    twin = type("NoFunds", (Exception,), {})
    with pytest.raises(InvalidQueue, match="two of the errors have the name 'NoFunds'"):
        codec_of(NoFunds, twin)
    with pytest.raises(InvalidQueue, match="ExceptionGroup is an exception group"):
        codec_of(ExceptionGroup)

    @attrs.define
    class Holding(Exception):
        lock: complex

    with pytest.raises(InvalidQueue, match="Holding: complex cannot be carried"):
        codec_of(Holding)


def test_a_queue_without_errors_refuses_all():
    with pytest.raises(Undecodable):
        codec_of().decode('{"type": "NoFunds", "args": []}')
    assert refused(codec_of(), NoFunds()).reason == "NoFunds is not declared"
