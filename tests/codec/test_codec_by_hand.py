"""Codecs that are given by hand: what they return and raise."""

from __future__ import annotations

import math

import pytest
from sample_values import Level, Size

from m25 import ValueRefused
from m25._codec import Codec, Undecodable


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
