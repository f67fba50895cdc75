"""Classes as values: those of attrs and dataclasses, of every making."""

from __future__ import annotations

import dataclasses
from typing import Annotated, ClassVar, Generic, TypeVar

import attrs
import pytest

from m25 import ValueRefused
from m25._codec import Undecodable, value_codec
from m25.errors import InvalidQueue

T = TypeVar("T")
K = TypeVar("K")


def codec_of(annotation):
    return value_codec(annotation, "the input")


def there_and_back(annotation, value):
    codec = codec_of(annotation)
    return codec.decode(codec.encode(value, "input"))


@attrs.define
class Private:
    _secret: int
    name: str = attrs.field(alias="called")


@attrs.frozen(kw_only=True)
class KeywordOnly:
    b: int = 2
    a: str


@attrs.define
class Mingled:
    a: int
    b: str = "b"
    c: int = attrs.field(kw_only=True)
    d: list[int] = attrs.field(factory=list)
    e: int = attrs.field(default=attrs.Factory(lambda self: self.a, takes_self=True))
    shared: ClassVar[int] = 3


@attrs.frozen
class Names:
    """Its fields are named like the arguments of the library that reads them."""

    cl: int
    converter: str
    attrs: int = 0
    typevar_map: int = 0
    self_: int = 0
    value: int = 0
    o: int = 0


@attrs.define
class Computed:
    side: int
    area: int = attrs.field(init=False)

    def __attrs_post_init__(self):
        self.area = self.side**2


@attrs.frozen
class Converted:
    tags: tuple[str, ...] = attrs.field(converter=tuple)
    name: str = attrs.field(converter=str.strip, default="x")


@attrs.define
class Doubling:
    amount: int = attrs.field(converter=lambda amount: amount * 2)


@attrs.define
class Validated:
    amount: int = attrs.field(validator=attrs.validators.gt(0), on_setattr=attrs.setters.NO_OP)


@attrs.define(init=False)
class ByHand:
    a: int
    b: int

    def __init__(self, b, a):
        self.__attrs_init__(a, b)


@attrs.define(init=False)
class Other:
    a: int

    def __init__(self, text):
        self.__attrs_init__(int(text))


@attrs.define
class Untyped:
    a = attrs.field()


@dataclasses.dataclass
class Plain:
    a: int
    b: list[int] = dataclasses.field(default_factory=list)
    c: ClassVar[int] = 1
    d: int = dataclasses.field(default=4, init=False)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Slotted:
    a: int = 1
    b: Annotated[str, "note"]


@dataclasses.dataclass
class Checked:
    a: int

    def __post_init__(self):
        if self.a < 0:
            raise ValueError("a must not be negative")


@dataclasses.dataclass
class Mutating:
    a: int

    def __post_init__(self):
        self.a += 1


@dataclasses.dataclass
class WithInitVar:
    a: int
    b: dataclasses.InitVar[int]


@dataclasses.dataclass(init=False)
class WithoutInit:
    a: int


@attrs.frozen
class Base:
    a: int


@attrs.frozen
class Derived(Base):
    b: str


@attrs.frozen
class Box(Generic[T]):
    item: T
    items: list[T] = attrs.field(factory=list)
    maybe: T | None = None


@attrs.frozen
class Crate(Box[list[T]], Generic[T, K]):
    keys: dict[str, K] = attrs.field(factory=dict)


@dataclasses.dataclass
class Numbers(Crate[int, float]):
    pass


@attrs.frozen
class Closed(Box[int]):
    lid: str = ""


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Private(1, "n"), {"_secret": 1, "name": "n"}),
        (KeywordOnly(a="a"), {"b": 2, "a": "a"}),
        (Mingled(1, c=2), {"a": 1, "b": "b", "c": 2, "d": [], "e": 1}),
        (
            Names(1, "c"),
            {"cl": 1, "converter": "c", "attrs": 0, "typevar_map": 0}
            | {"self_": 0, "value": 0, "o": 0},
        ),
        (Computed(3), {"side": 3}),
        (Converted(["a"], " b "), {"tags": ["a"], "name": "b"}),
        (ByHand(2, 1), {"a": 1, "b": 2}),
        (Plain(1, [2]), {"a": 1, "b": [2]}),
        (Slotted(b="b"), {"a": 1, "b": "b"}),
        (Checked(1), {"a": 1}),
        (Derived(1, "b"), {"a": 1, "b": "b"}),
        (Closed(1), {"item": 1, "items": [], "maybe": None, "lid": ""}),
    ],
    ids=lambda each: type(each).__name__,
)  # fmt: skip
def test_an_object_of_its_fields(value, plain):
    codec = codec_of(type(value))
    assert codec.to_json(value) == plain
    assert there_and_back(type(value), value) == value
    assert codec.decoder(plain) == value


def test_a_generic_class_carries_what_its_arguments_say():
    assert there_and_back(Box[int], Box(1, [2], 3)) == Box(1, [2], 3)
    crate = Crate([1], [[2]], [3], {"k": 0.5})
    assert there_and_back(Crate[int, float], crate) == crate
    with pytest.raises(ValueRefused) as caught:
        codec_of(Crate[int, float]).encode(Crate(["1"]), "input")
    assert caught.value.path == ".item[0]"
    with pytest.raises(ValueRefused) as caught:
        codec_of(Closed).encode(Closed("1"), "input")
    assert caught.value.path == ".item"
    with pytest.raises(InvalidQueue, match="nothing says what the type variable T stands for"):
        codec_of(Box)


@pytest.mark.parametrize(
    ("cls", "message"),
    [
        (Other, r"Other cannot be made of its fields \(a\): it takes \(text\)"),
        (Untyped, "Untyped.a has no annotation"),
        (WithInitVar, r"WithInitVar cannot be made of its fields \(a\): it takes \(a, b\)"),
        (WithoutInit, "WithoutInit cannot be made of its fields"),
    ],
)
def test_a_class_that_is_not_made_of_its_fields_is_refused_at_once(cls, message):
    with pytest.raises(InvalidQueue, match=message):
        codec_of(cls)


def test_a_class_that_makes_another_value_of_its_fields_is_refused():
    with pytest.raises(ValueRefused, match="would not come back equal"):
        codec_of(Doubling).encode(Doubling(1), "input")
    with pytest.raises(ValueRefused, match="would not come back equal"):
        codec_of(list[Mutating]).encode([Mutating(1)], "input")
    assert there_and_back(Doubling, Doubling(0)) == Doubling(0)


def test_what_a_class_itself_refuses_cannot_be_decoded_and_is_not_enqueued():
    with pytest.raises(Undecodable) as caught:
        codec_of(list[Checked]).decode('[{"a": 1}, {"a": -1}]')
    assert caught.value.path == "[1]"
    assert caught.value.reason == "ValueError"
    assert str(caught.value.__cause__.__cause__) == "a must not be negative"
    spoilt = Checked(1)
    spoilt.a = -1
    with pytest.raises(ValueRefused, match="could not be read again"):
        codec_of(Checked).encode(spoilt, "input")
    with pytest.raises(Undecodable, match="ValueError"):
        codec_of(Validated).decode('{"amount": 0}')


def test_a_value_that_is_at_fault_is_made_once_and_not_again_to_find_the_fault():
    asked: list[int] = []

    def refusing(_value, _field, new):
        asked.append(new)
        raise ValueError("not today")

    @attrs.define
    class Refusing:
        a: int = attrs.field(validator=refusing)

    with pytest.raises(Undecodable, match="ValueError") as caught:
        codec_of(list[Refusing]).decode('[{"a": 1}]')
    assert caught.value.path == "[0]"
    assert asked == [1]


def test_a_subclass_is_refused_where_its_base_is_declared():
    with pytest.raises(ValueRefused, match="must be Base, not Derived"):
        codec_of(Base).encode(Derived(1, "b"), "input")
    with pytest.raises(Undecodable) as caught:
        codec_of(Base).decode('{"a": 1, "b": "b"}')
    assert caught.value.path == '["b"]'


def test_an_attribute_that_was_deleted_is_refused_with_its_path():
    value = Mingled(1, c=2)
    del value.d
    with pytest.raises(ValueRefused) as caught:
        codec_of(Mingled).encode(value, "input")
    assert caught.value.path == ".d"


def test_classes_made_inside_a_function_are_found_by_their_own_names():
    @attrs.frozen
    class Local:
        parent: Local | None = None

    assert there_and_back(Local, Local(Local())) == Local(Local())
