"""Names quoted inside of types, which Python does not evaluate by itself: no `annotations` here."""

import collections
import dataclasses
from collections.abc import Sequence
from typing import Generic, NamedTuple, Optional, TypedDict, TypeVar

import attrs
import pytest
import typing_extensions

from m25._codec import Undecodable, value_codec
from m25.errors import InvalidQueue, ValueRefused

T = TypeVar("T")


@attrs.frozen
class Box(Generic[T]):
    item: T


@attrs.frozen
class Node:
    value: int
    children: list["Node"] = attrs.field(factory=list)
    by_name: dict[str, "Node"] = attrs.field(factory=dict)
    maybe: Optional["Node"] = None
    boxed: Box["Node | None"] = Box(None)
    pair: tuple["Node", ...] = ()
    waiting: "collections.deque[Node]" = attrs.field(factory=collections.deque)


@dataclasses.dataclass
class Leaf:
    nodes: Sequence["Node"]


class Step(NamedTuple):
    nodes: list["Node"]


class Plan(TypedDict):
    nodes: list["Node"]


class Later(typing_extensions.TypedDict):
    nodes: list["Node"]


FULL = Node(
    1,
    [Node(2)],
    {"a": Node(3)},
    Node(4),
    Box(Node(5)),
    (Node(6), Node(7, [Node(8)])),
    collections.deque([Node(9)]),
)


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (Node, FULL),
        (Leaf, Leaf([FULL])),
        (Step, Step([FULL])),
        (Plan, {"nodes": [FULL]}),
        (Later, {"nodes": [FULL]}),
    ],
    ids=["attrs", "dataclass", "NamedTuple", "TypedDict", "typing_extensions"],
)
def test_what_is_quoted_inside_of_a_type_comes_back_as_an_instance(annotation, value):
    codec = value_codec(annotation, "the input")
    assert codec.decode(codec.encode(value, "input")) == value


def test_what_is_quoted_is_checked():
    with pytest.raises(ValueRefused) as refused:
        value_codec(Node, "the input").encode(Node(1, [Node(2, ["x"])]), "input")  # type: ignore[list-item]
    assert refused.value.path == ".children[0].children[0]"
    with pytest.raises(Undecodable) as undecodable:
        value_codec(Node, "the input").decode('{"value": 1, "by_name": {"a": {"value": "2"}}}')
    assert undecodable.value.path == '.by_name["a"].value'


def test_what_is_quoted_where_nothing_says_what_it_names_is_refused():
    with pytest.raises(InvalidQueue, match="Node"):
        value_codec(list["Node"], "the input")
