"""`queue.json_schema()`: what it refuses no codec takes, and what a codec writes it lets pass."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from enum import Flag, IntEnum
from pathlib import Path, PurePosixPath
from typing import Any, Generic, Literal, Never, TypedDict, TypeVar

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from test_codec_roundtrips import KINDS, TEXT, Drawing, steady

import m25
from m25._codec import Undecodable, value_codec
from support.thorough import thorough

T = TypeVar("T")


class Access(Flag):
    READ = 1
    WRITE = 2


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Node(TypedDict):
    children: list[Node]


@attrs.frozen
class Box(Generic[T]):
    content: T


@attrs.frozen
class Boxes:
    number: Box[int]
    text: Box[str]


NODES = st.recursive(
    st.just({"children": []}),
    lambda inner: st.fixed_dictionaries({"children": st.lists(inner, max_size=3)}),
    max_leaves=5,
)
ALL: list[tuple[Any, st.SearchStrategy[Any]]] = [
    *KINDS,
    (Access, st.sampled_from([*Access, Access.READ | Access.WRITE])),
    (dict[Level, bool], st.dictionaries(st.sampled_from(Level), st.booleans())),
    (dict[Literal["a", "b"], int], st.dictionaries(st.sampled_from("ab"), st.integers(0, 9))),
    (Node, NODES),
    (Boxes, st.builds(Boxes, st.builds(Box, st.integers(0, 9)), st.builds(Box, TEXT))),
    (PurePosixPath, st.just(PurePosixPath("a/b"))),
    (Path | None, st.just(Path("a")) | st.none()),
    (tuple[()], st.just(())),
    (tuple[int, ...], st.tuples(st.integers(0, 9), st.integers(0, 9))),
]


def nodes(plain: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where the parts of a JSON value are, itself among them."""
    yield path
    if isinstance(plain, dict | list):
        for key, part in plain.items() if isinstance(plain, dict) else enumerate(plain):
            yield from nodes(part, (*path, key))


def mutated(plain: Any, data: st.DataObject) -> tuple[Any, bool]:
    """A JSON value of which one part is another, is gone, or has been added; and whether a text or
    a key has been put there, of which a schema does not say all.
    """
    whole = [copy.deepcopy(plain)]
    path = data.draw(st.sampled_from([*nodes(plain)]))
    parent: Any = whole
    key: Any = 0
    for part in path:
        parent, key = parent[key], part
    there = parent[key]
    how = data.draw(st.sampled_from(["other", "gone", "more"]))
    if how == "gone" and path:
        del parent[key]
        return whole[0], False
    if how == "more" and isinstance(there, dict):
        there["added"] = data.draw(st.sampled_from([None, 1, "text"]))
        return whole[0], True
    if how == "more" and isinstance(there, list):
        there.append(copy.deepcopy(there[0]) if there else None)
        return whole[0], True
    parent[key] = data.draw(st.sampled_from([None, True, 7, -2.5, "text", [], {}, ["text"]]))
    return whole[0], parent[key] in ("text", ["text"])


@thorough
@pytest.mark.parametrize(("kind", "values"), ALL, ids=[str(kind) for kind, _ in ALL])
def test_a_schema_lets_pass_what_its_codec_writes_and_refuses_what_that_cannot_read(
    kind: Any, values: st.SearchStrategy[Any]
) -> None:
    codec = value_codec(kind, "the input")
    schema = codec.make_schema()
    Draft202012Validator.check_schema(schema)
    json.dumps(schema)
    validator = Draft202012Validator(schema)

    @steady
    @given(values, st.data())
    def check(value: Any, data: st.DataObject) -> None:
        plain = json.loads(codec.encode(value, "input"))
        validator.validate(plain)
        other, is_loose = mutated(plain, data)
        has_duplicates = "uniqueItems" in json.dumps(schema)
        try:
            codec.decode(json.dumps(other))
        except Undecodable:
            if not is_loose and kind is not Access:
                assert not validator.is_valid(other)
        else:
            assert validator.is_valid(other) or has_duplicates

    check()


async def nothing(value: Drawing) -> Box[int]:
    raise NotImplementedError


@attrs.frozen
class Full(Exception):
    """The mailbox takes no more."""

    mailbox: str
    until: int | None = None


def test_a_queue_tells_of_inputs_outputs_and_errors() -> None:
    queue = m25.Queue("q", handler_function=nothing, errors=(Full, LookupError))
    schemas = queue.json_schema()
    for schema in schemas.values():
        Draft202012Validator.check_schema(schema)  # type: ignore[arg-type]
    assert schemas["output"]["$ref"] == "#/$defs/Box_int"
    assert schemas["error"]["$defs"]["Full"]["description"] == "The mailbox takes no more."
    errors = Draft202012Validator(schemas["error"])
    for error in (Full("ada"), Full("ada", 3), LookupError("a", 1)):
        errors.validate(json.loads(queue.error_codec.encode(error, "error")))
    for refused in (
        {"type": "Full", "args": []},
        {"type": "Full", "fields": {}},
        {"type": "ValueError", "args": []},
        {"type": "LookupError", "args": {}},
    ):
        assert not errors.is_valid(refused)


def test_what_may_be_unknown_is_open_and_what_is_by_hand_says_nothing() -> None:
    async def f(value: Box[int]) -> None:
        raise NotImplementedError

    ignores = m25.Queue("q", handler_function=f, unknown_fields="ignore").json_schema()
    closed = m25.declare("q", input=Box[int], output=None).json_schema()
    more = {"content": 1, "more": 2}
    assert Draft202012Validator(ignores["input"]).is_valid(more)
    assert not Draft202012Validator(closed["input"]).is_valid(more)
    assert not Draft202012Validator(closed["error"]).is_valid({})
    by_hand = m25.Queue("q", handler_function=f, input_to_json=dict, input_decoder=Box[int])
    assert Draft202012Validator(by_hand.json_schema()["input"]).is_valid(more)


def test_of_what_returns_never_nothing_is_valid() -> None:
    async def f(value: int) -> Never:
        raise NotImplementedError

    output = m25.Queue("q", handler_function=f).json_schema()["output"]
    assert not Draft202012Validator(output).is_valid(None)
