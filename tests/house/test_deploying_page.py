"""What docs/deploying.md says of changed types is what old code does beside new code."""

from __future__ import annotations

import dataclasses
import enum
import re
from pathlib import Path
from typing import Any, Literal, NamedTuple, NewType, TypedDict

import attrs
import pytest
import trio.testing

import m25
import m25.testing

PAGE = (Path(__file__).parents[2] / "docs" / "deploying.md").read_text(encoding="utf-8")
IGNORES = {"unknown_fields": "ignore"}


def table(first: str) -> dict[str, tuple[str, str]]:
    """The rows of the table whose first column has this name."""
    (_, _, rest) = PAGE.partition(f"\n| {first} |")
    (rows, _, _) = rest.partition("\n\n")
    found = re.findall(r"^\| (.*) \| (\w+) \| (\w+) \|$", rows, re.MULTILINE)
    assert len(found) == rows.count("\n") - 1
    return {change.replace("\\|", "|"): (old, new) for change, old, new in found}


class Change(NamedTuple):
    """A type before and after, and a value of each that the other may not know."""

    before: Any
    after: Any
    old: Any
    new: Any
    options: dict[str, Any] = {}  # noqa: RUF012 - never changed


def make(name: str, **fields: Any) -> Any:
    """An attrs class; a field is a type, or a type and a default."""
    made = {
        field: attrs.field(type=kind[0], default=kind[1])
        if isinstance(kind, tuple)
        else attrs.field(type=kind)
        for field, kind in fields.items()
    }
    return attrs.make_class(name, made, frozen=True)


class Size(enum.Enum):
    SMALL = "s"


class MoreSizes(enum.Enum):
    SMALL = "s"
    LARGE = "l"


class Point(NamedTuple):
    x: int


class DeepPoint(NamedTuple):
    x: int
    z: int = 0


@dataclasses.dataclass
class AsDataclass:
    to: str


class AsDict(TypedDict):
    to: str


Address = NewType("Address", str)

ONE = make("Email", to=str)
TWO = make("Email", to=str, cc=(str, ""))
STRICT = make("Email", to=str, cc=str)
RENAMED = make("Email", recipient=str)
TEXT, PICTURE, VIDEO = (make(name, data=str) for name in ("Text", "Picture", "Video"))
IMAGE = make("Image", data=str)

INPUTS = {
    "a field more, with a default": [Change(ONE, TWO, ONE("a"), TWO("a"))],
    "a field more, without a default": [Change(ONE, STRICT, ONE("a"), STRICT("a", "b"))],
    "a field less, which had a default": [Change(TWO, ONE, TWO("a"), ONE("a"))],
    "a field less, which had none": [Change(STRICT, ONE, STRICT("a", "b"), ONE("a"))],
    'a field less, `unknown_fields="ignore"`': [Change(TWO, ONE, TWO("a"), ONE("a"), IGNORES)],
    "a field renamed": [Change(ONE, RENAMED, ONE("a"), RENAMED("a"))],
    "a default for a field that had none": [Change(STRICT, TWO, STRICT("a", "b"), TWO("a"))],
    "a field that may be `None`, too": [Change(str, str | None, "a", None)],
    "`int` becomes `float`": [Change(int, float, 1, 1.5)],
    "`int` becomes `int | str`": [Change(int, int | str, 1, "a")],
    "`str` becomes a `NewType` of it": [Change(str, Address, "a", Address("b"))],
    "`list` becomes `tuple[…, ...]`": [Change(list[int], tuple[int, ...], [1], (1, 2))],
    "a dataclass becomes an attrs class, or a `TypedDict`": [
        Change(AsDataclass, ONE, AsDataclass("a"), ONE("a")),
        Change(AsDataclass, AsDict, AsDataclass("a"), {"to": "a"}),
    ],
    "a class renamed": [Change(PICTURE, IMAGE, PICTURE("p"), IMAGE("i"))],
    "a class renamed that is in a union": [
        Change(TEXT | PICTURE, TEXT | IMAGE, PICTURE("p"), IMAGE("i"))
    ],
    "a member more of an `Enum` or a `Literal`": [
        Change(Size, MoreSizes, Size.SMALL, MoreSizes.LARGE),
        Change(Literal["a"], Literal["a", "b"], "a", "b"),
    ],
    "a member less": [Change(MoreSizes, Size, MoreSizes.LARGE, Size.SMALL)],
    "a class more in a union of classes": [
        Change(TEXT | PICTURE, TEXT | PICTURE | VIDEO, TEXT("t"), VIDEO("v"))
    ],
    "a class becomes a union of classes": [Change(TEXT, TEXT | PICTURE, TEXT("t"), PICTURE("p"))],
    "a field more of a `NamedTuple`": [Change(Point, DeepPoint, Point(1), DeepPoint(1, 2))],
}


def queue(takes: Any = None, returns: Any = None, **options: Any) -> m25.Queue[Any, Any, Any]:
    """The queue of the programs of one version."""

    async def handle(value: Any) -> Any:
        if isinstance(value, Exception):
            raise value
        return None if returns is None else value

    handle.__annotations__.update({"value": takes, "return": returns})
    return m25.Queue("q", handler_function=handle, **options)


async def fate(
    producer: m25.Queue[Any, Any, Any], worker: m25.Queue[Any, Any, Any], value: Any
) -> str:
    """What becomes of a job of one version with a worker of another."""
    async with m25.testing.open() as m:
        m.add_queue(worker)
        await m.start()
        job = await m.enqueue(producer, value)
        await m25.testing.drain(m)
        status = (await m.get_job(producer, job.id)).status
    return {"pending": "waits", "succeeded": "runs", "failed": "fails"}[status.value]


@pytest.mark.parametrize("change", table("change"))
async def test_a_job_of_one_version_and_a_worker_of_another(
    change: str, autojump_clock: trio.testing.MockClock
) -> None:
    for before, after, old, new, options in INPUTS[change]:
        first, second = queue(before, **options), queue(after, **options)
        fates = await fate(first, second, old), await fate(second, first, new)
        assert fates == table("change")[change]


def test_every_change_is_tried() -> None:
    assert list(table("change")) == list(INPUTS)
    assert list(table("change of the output's type")) == list(OUTPUTS)


class Full(Exception):
    pass


class Gone(Exception):
    pass


OUTPUTS = {
    "a field more, with a default": Change(ONE, TWO, ONE("a"), TWO("a")),
    'a field more, with a default, `unknown_fields="ignore"`': Change(
        ONE, TWO, ONE("a"), TWO("a"), IGNORES
    ),
    'a field less, `unknown_fields="ignore"`': Change(
        STRICT, ONE, STRICT("a", "b"), ONE("a"), IGNORES
    ),
    "a member more of an `Enum`": Change(Size, MoreSizes, Size.SMALL, MoreSizes.LARGE),
    "another class of errors in `errors=`": Change((Full,), (Full, Gone), Full(), Gone()),
}


async def reading(
    writer: m25.Queue[Any, Any, Any], reader: m25.Queue[Any, Any, Any], value: Any
) -> str:
    """What becomes of an output of one version where code of another reads it."""
    by_hand: dict[str, Any] = {"input_to_json": lambda _: None, "input_decoder": lambda _: value}
    async with m25.testing.open() as m:
        m.add_queue(attrs.evolve(writer, **by_hand))
        await m.start()
        job = await m.enqueue(attrs.evolve(writer, **by_hand), value)
        await m25.testing.drain(m)
        try:
            await m.get_job(attrs.evolve(reader, **by_hand), job.id)
        except m25.errors.JobRecordFetchDecodeErrors:
            return "raises"
    return "reads"


@pytest.mark.parametrize("change", table("change of the output's type"))
async def test_an_output_of_one_version_and_a_reader_of_another(
    change: str, autojump_clock: trio.testing.MockClock
) -> None:
    before, after, old, new, options = OUTPUTS[change]
    is_error = isinstance(old, Exception)
    first, second = (
        queue(Any, errors=kind) if is_error else queue(Any, kind, **options)
        for kind in (before, after)
    )
    found = await reading(first, second, old), await reading(second, first, new)
    assert found == table("change of the output's type")[change]
