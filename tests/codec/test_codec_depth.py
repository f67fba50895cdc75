"""Classes that hold themselves, and what is nested deeply, or too deeply."""

from __future__ import annotations

import time
from typing import Any

import attrs
import pytest

from m25 import ValueRefused
from m25._codec import Undecodable, value_codec


def codec_of(annotation):
    return value_codec(annotation, "the input")


def there_and_back(annotation, value):
    codec = codec_of(annotation)
    return codec.decode(codec.encode(value, "input"))


@attrs.frozen
class Node:
    value: int
    left: Node | None = None
    right: Node | None = None


@attrs.frozen
class Tree:
    children: list[Tree] = attrs.field(factory=list)
    by_name: dict[str, Tree] = attrs.field(factory=dict)


@attrs.define
class Even:
    next: Odd | None


@attrs.define
class Odd:
    next: Even | None


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Node(1), {"value": 1, "left": None, "right": None}),
        (Tree([Tree()]), {"children": [{"children": [], "by_name": {}}], "by_name": {}}),
    ],
    ids=["Node", "Tree"],
)
def test_a_class_that_holds_itself_is_an_object_of_its_fields(value, plain):
    codec = codec_of(type(value))
    assert codec.to_json(value) == plain
    assert there_and_back(type(value), value) == value
    assert codec.decoder(plain) == value


def test_recursive_classes_are_declared_quickly_and_carried():
    began = time.process_time()
    codec = codec_of(dict[str, Node | Tree | Even])
    assert time.process_time() - began < 5
    value = {
        "a": Even(Odd(Even(None))),
        "b": Tree([], {"x": Tree([Tree()])}),
        "c": Node(1, Node(2)),
    }
    assert codec.decode(codec.encode(value, "input")) == value
    with pytest.raises(ValueRefused) as caught:
        codec.encode({"b": Tree([Tree(), Tree([], {"x": Node(1)})])}, "input")
    assert caught.value.path == '["b"].children[1].by_name["x"]'


def chain(length):
    node = Node(0)
    for value in range(length):
        node = Node(value, node)
    return node


@pytest.mark.parametrize("length", [250, 100_000])
def test_what_is_nested_too_deeply_is_refused_with_the_beginning_of_its_path(length):
    assert there_and_back(Node, chain(150)).left == chain(149)
    with pytest.raises(ValueRefused, match="nested") as caught:
        codec_of(Node).encode(chain(length), "input")
    assert caught.value.path.startswith(".left.left.left")
    assert len(str(caught.value)) < 500


def test_what_is_within_itself_is_refused_with_the_beginning_of_its_path():
    even = Even(Odd(None))
    even.next.next = even
    with pytest.raises(ValueRefused, match="nested") as caught:
        codec_of(Even).encode(even, "input")
    assert caught.value.path.startswith(".next.next.next")
    cyclic: list[Any] = []
    cyclic.append(cyclic)
    for annotation in (Any, list[Any], dict[str, Any]):
        with pytest.raises(ValueRefused, match="nested") as caught:
            codec_of(annotation).encode(
                {"k": cyclic} if annotation == dict[str, Any] else cyclic, "x"
            )
        assert "[0][0][0]" in caught.value.path


def test_a_fault_at_the_bottom_of_a_deep_value_is_found_quickly():
    node = Node("bottom")
    for value in range(50):
        node = Node(value, node)
    began = time.process_time()
    with pytest.raises(ValueRefused, match="must be a whole number, not str") as caught:
        codec_of(Node).encode(node, "input")
    assert time.process_time() - began < 5
    assert caught.value.path == ".left" * 50 + ".value"


def test_many_parts_do_not_count_as_deep():
    value = Tree([Tree() for _ in range(1000)])
    assert there_and_back(Tree, value) == value


@pytest.mark.parametrize(
    "text",
    [
        "[" * 10_000,
        "[" * 10_000 + "]" * 10_000,
        '{"a":' * 10_000,
        '{"value":1,"left":' * 10_000 + "null" + "}" * 10_000,
    ],
    ids=range(4),
)
def test_json_ten_thousand_deep_is_undecodable(text):
    for annotation in (Any, Node, list[int], dict[str, Any]):
        with pytest.raises(Undecodable):
            codec_of(annotation).decode(text)


def test_an_integer_of_five_thousand_digits_is_undecodable():
    for annotation in (Any, int, float, Node, dict[str, Any]):
        with pytest.raises(Undecodable, match="too many digits"):
            codec_of(annotation).decode("9" * 5_000)


@pytest.mark.parametrize(
    "text", ["", "nul", "{", '{"a":1}x', "NaN", "-Infinity", "[1,]", b"\xff", b"\xff\xfe[\x00"]
)
def test_text_that_is_no_json_is_undecodable(text):
    with pytest.raises(Undecodable):
        codec_of(Any).decode(text)
